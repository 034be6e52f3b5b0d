"""``unmask rescore``: a version scores what others have scored, while workers have nothing else to do."""

from datetime import UTC, datetime
from typing import Any

import click

from db.models import versions
from db.work import rescores
from db.cli import open_database
from db.commands.options import signed
from db.output import emit, json_option
from db.schema import Rescore

#: Images a second for all workers together, unless asked for otherwise.
RATE_PER_S = 10.0
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@click.command()
@click.option("--model", help="Which version: the active one, or the shadow.")
@click.option("--since", type=click.DateTime(_DATES), help="Only images added since (UTC).")
@click.option("--policy", help="Only this policy's images.")
@click.option("--rate", type=click.FloatRange(0.01), default=RATE_PER_S, show_default=True, help="Images a second.")
@click.option("--dry-run", is_flag=True, help="Only say how many images that are.")
@click.option("--stop", type=int, metavar="ID", help="End this one before it is done.")
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
    """Let a version score what others have scored, while workers have nothing else to do.

    Without --model: how far they are. The scores flag nothing by themselves; `unmask threshold apply` does, or a
    promotion. Killed workers lose nothing: another pass finds what is missing.
    """
    database = open_database()
    if model is None:
        _list_or_stop(database, stop, as_json=as_json)
        return
    start = since.replace(tzinfo=UTC) if since is not None else None
    with database.reading() as session:
        count = rescores.remaining(session, versions.named(session, model).id, policy, start)
    if dry_run:
        emit([{"images": count, "hours_at_least": count / rate / 3600}], as_json=as_json, empty="")
        return
    with database.writing() as session:
        version = versions.named(session, model)
        row = _row(rescores.start(session, version, signed("").author, rate, policy, start), version.name)
    emit([row | {"images": count}], as_json=as_json, empty="")


def _list_or_stop(database: Any, stop: int | None, *, as_json: bool) -> None:
    if stop is not None:
        with database.writing() as session:
            rescores.stop(session, stop)
    with database.reading() as session:
        names = {version.id: version.name for version in versions.list_versions(session)}
        rows = [_row(row, names[row.version_id]) for row in rescores.list_rescores(session)]
    emit(rows, as_json=as_json, empty="nothing was ever rescored: unmask rescore --model NAME")


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
