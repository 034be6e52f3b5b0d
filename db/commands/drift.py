"""``unmask model drift``: whether photos still score as they did in a week that was well."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from db.models import versions
from db.cli import open_database
from db.quality.drift import DayLine, Days, first_week
from db.quality.drift import drift as read_drift
from db.errors import DbError
from db.output import emit, json_option
from db.schema import ModelVersion

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command("drift")
@click.argument("name", required=False)
@click.option("--policy", help="Only this policy's photos.")
@click.option("--reference-from", type=_DAY, help="The first day to compare with (UTC).")
@click.option("--reference-to", type=_DAY, help="The last; by default the first week in which the model scored.")
@click.option("--days", type=click.IntRange(1), default=14, show_default=True, help="How many days, up to today.")
@json_option
def drift(
    *,
    name: str | None,
    policy: str | None,
    reference_from: datetime | None,
    reference_to: datetime | None,
    days: int,
    as_json: bool,
) -> None:
    """Each day's scores and flagged share beside those of a reference week, and how far apart they are.

    Of the active model, or of NAME's. The population stability index (psi) is usually watched from 0.1 on, and an alarm
    from 0.25 on; p_value is Kolmogorov's and Smirnov's. Neither says whether photos or fakes have changed.
    """
    today = datetime.now(UTC).date()
    with open_database().reading() as session:
        version = versions.named(session, name) if name else versions.active(session)
        reference = _reference(reference_from, reference_to, first_week(session, version), version)
        lines = read_drift(session, version, reference, Days(today - timedelta(days=days - 1), today), policy)
        rows = [_row(line) for line in lines]
    emit(rows, as_json=as_json, empty=f"model {version.name} has scored nothing in {days} days")


def _reference(begin: datetime | None, end: datetime | None, first: Days | None, version: ModelVersion) -> Days:
    if first is None:
        raise DbError(f"model {version.name} has no score yet")
    start: date = begin.date() if begin is not None else first.first
    last = end.date() if end is not None else start + (first.last - first.first)
    if last < start:
        raise DbError(f"a reference from {start} to {last} has no day")
    return Days(start, last)


def _row(line: DayLine) -> dict[str, Any]:
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
