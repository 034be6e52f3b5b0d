"""``unmask pause`` and ``unmask resume``: no flags, or no scores, for a while."""

from typing import Any

import click

from db.policy import pauses
from db.cli import open_database
from db.commands.options import reason_option, signed
from db.output import emit, json_option
from db.schema import PAUSABLE, Pause

what_argument = click.argument("what", type=click.Choice(PAUSABLE))


@click.command("pause")
@what_argument
@click.option("--reason", required=True, help="Why, for those who wonder.")
@json_option
def pause(*, what: str, reason: str, as_json: bool) -> None:
    """Stop flagging (photos are still scored) or scoring (photos wait); workers follow within seconds."""
    with open_database().writing() as session:
        row = _row(pauses.pause(session, what, signed(reason)))
    emit([row], as_json=as_json, empty="")


@click.command("resume")
@what_argument
@reason_option
@json_option
def resume(*, what: str, reason: str, as_json: bool) -> None:
    """Go on flagging or scoring.

    What was scored while flagging was paused flags with `unmask threshold apply`.
    """
    with open_database().writing() as session:
        row = _row(pauses.resume(session, what, signed(reason)))
    emit([row], as_json=as_json, empty="")
    if what == "flagging":
        click.echo("For what was scored meanwhile: unmask threshold apply", err=True)


def _row(row: Pause) -> dict[str, Any]:
    return {"what": row.what, "paused": row.paused, "by": row.author, "reason": row.reason, "at": row.created_at}
