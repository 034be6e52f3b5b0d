"""``unmask pause`` and ``unmask resume``: stop and restart flagging, or all scoring."""

from typing import Any

import click

from db.commands.database import open_database
from db.commands.options import as_lead, author, reason_option
from db.commands.output import emit, json_option
from db.policy import pauses
from db.schema import PAUSABLE, Pause

what_argument = click.argument("what", type=click.Choice(PAUSABLE))


@click.command("pause")
@what_argument
@click.option("--reason", required=True, help="Why, for others who see it.")
@json_option
def pause_command(*, what: str, reason: str, as_json: bool) -> None:
    """Pause flagging (photos are still scored) or scoring (photos wait); workers follow within seconds."""
    with open_database().writing() as session:
        as_lead(session)
        row = _row(pauses.pause(session, what, author(reason)))
    emit([row], as_json=as_json, empty="")


@click.command("resume")
@what_argument
@reason_option
@json_option
def resume_command(*, what: str, reason: str, as_json: bool) -> None:
    """Resume flagging or scoring.

    Photos scored while flagging was paused are flagged by `unmask threshold apply`.
    """
    with open_database().writing() as session:
        as_lead(session)
        row = _row(pauses.resume(session, what, author(reason)))
    emit([row], as_json=as_json, empty="")
    if what == "flagging":
        click.echo("To flag photos that were scored meanwhile: unmask threshold apply", err=True)


def _row(row: Pause) -> dict[str, Any]:
    return {"what": row.what, "paused": row.paused, "by": row.author, "reason": row.reason, "at": row.created_at}
