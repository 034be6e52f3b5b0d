"""``unmask model drift``: whether photos still score as they did in a reference week."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from db.commands.database import open_database
from db.commands.output import emit, json_option
from db.errors import DbError
from db.models import versions
from db.quality.drift import DailyDrift, DayRange, first_week
from db.quality.drift import daily_drift as read_drift
from db.schema import ModelVersion

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("drift")
@click.argument("name", required=False)
@click.option("--policy", help="Only this policy's photos.")
@click.option("--reference-from", type=_DAY, help="First day of the reference (UTC).")
@click.option("--reference-to", type=_DAY, help="Last day of the reference; default: the model's first week.")
@click.option(
    "--days", type=click.IntRange(1, 36_500), default=14, show_default=True, help="How many days, up to today."
)
@json_option
def model_drift(
    *,
    name: str | None,
    policy: str | None,
    reference_from: datetime | None,
    reference_to: datetime | None,
    days: int,
    as_json: bool,
) -> None:
    """How far each day's scores are from those of a reference week.

    For the active model, or for NAME; also the share of flagged photos. A population stability index (psi) of 0.1 is
    usually a warning, 0.25 an alarm; p_value is from the Kolmogorov-Smirnov test. Neither says whether photos or fakes
    have changed.
    """
    today = datetime.now(UTC).date()
    with open_database().reading() as session:
        version = versions.by_name(session, name) if name else versions.active(session)
        reference = _reference(reference_from, reference_to, first_week(session, version), version)
        lines = read_drift(session, version, reference, DayRange(today - timedelta(days=days - 1), today), policy)
        rows = [_row(line) for line in lines]
    emit(rows, as_json=as_json, empty=f"model {version.name} has not scored any photo in {days} days")


def _reference(begin: datetime | None, end: datetime | None, first: DayRange | None, version: ModelVersion) -> DayRange:
    if first is None:
        raise DbError(f"model {version.name} has not scored any photo yet")
    start: date = begin.date() if begin is not None else first.first
    last = end.date() if end is not None else start + (first.last - first.first)
    if last < start:
        raise DbError(f"the reference ends ({last}) before it begins ({start})")
    return DayRange(start, last)


def _row(line: DailyDrift) -> dict[str, Any]:
    return {
        "day": line.day.isoformat(),
        "policy": line.policy,
        "photos": line.found.count,
        "flagged_share": line.found.flagged_share,
        "reference_photos": line.reference.count,
        "reference_flagged_share": line.reference.flagged_share,
        "psi": line.distance.psi,
        "ks": line.distance.ks,
        "p_value": line.distance.p_value,
        "level": line.distance.level,
    }
