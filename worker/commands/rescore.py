"""``unmask rescore``: backfills, in which idle workers score old images with another version."""

from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy.orm import Session

from db.commands.database import open_database
from db.commands.options import as_lead, author
from db.commands.output import emit, json_option
from db.models import versions
from db.schema import Rescore
from db.work import backfills

#: The default limit for all workers together.
RATE_PER_S = 10.0
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@click.command()
@click.option("--model", help="The version that scores: the active one, or the shadow.")
@click.option("--since", type=click.DateTime(_DATES), help="Only images added since then (UTC).")
@click.option("--policy", help="Only this policy's images.")
@click.option(
    "--rate", type=click.FloatRange(0.01, 1_000_000), default=RATE_PER_S, show_default=True, help="Images a second."
)
@click.option("--dry-run", is_flag=True, help="Only count the images.")
@click.option("--stop", type=int, metavar="ID", help="Stop this backfill.")
@json_option
def rescore(
    *,
    model: str | None,
    since: datetime | None,
    policy: str | None,
    rate: float,
    dry_run: bool,
    stop: int | None,
    as_json: bool,
) -> None:
    """Backfill: have idle workers score old images with another version.

    Without --model, lists backfills and their progress. The scores themselves flag nothing; `unmask threshold apply`
    or a promotion does. Killed workers lose nothing: another pass finds the missing scores.
    """
    database = open_database()
    if model is None:
        _list_or_stop(database, stop, as_json=as_json)
        return
    start = since.replace(tzinfo=UTC) if since is not None else None
    with database.reading() as session:
        count = backfills.count_unscored(session, versions.by_name(session, model).id, policy, start)
    if dry_run:
        emit([{"images": count, "hours_at_least": count / rate / 3600}], as_json=as_json, empty="")
        return
    with database.writing() as session:
        as_lead(session)
        version = versions.by_name(session, model)
        row = _row(backfills.start_rescore(session, version, author("").author, rate, policy, start), version.name)
    emit([row | {"images": count}], as_json=as_json, empty="")


def _list_or_stop(database: Any, stop: int | None, *, as_json: bool) -> None:
    if stop is not None:
        with database.writing() as session:
            as_lead(session)
            backfills.stop_rescore(session, stop)
    with database.reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        rows = [_row(row, names[row.version_id]) | _left(session, row) for row in backfills.list_rescores(session)]
    emit(rows, as_json=as_json, empty="no backfill; start one: unmask rescore --model NAME")


def _left(session: Session, row: Rescore) -> dict[str, Any]:
    """How many images a running backfill has still to score, and how long that takes at least."""
    if row.state != "running":
        return {"left": 0, "hours_at_least": 0.0}
    left = backfills.count_unscored(session, row.version_id, row.policy, row.since)
    return {"left": left, "hours_at_least": left / row.rate_per_s / 3600}


def _row(row: Rescore, model: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "model": model,
        "policy": row.policy,
        "since": row.since,
        "state": row.state,
        "scored": row.scored,
        "failed": row.failed,
        "in_hand": row.in_hand,
        "rate_per_s": row.rate_per_s,
        "passes": row.passes,
        "author": row.author,
        "changed_at": row.changed_at,
    }
