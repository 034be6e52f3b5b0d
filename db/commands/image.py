"""``unmask image``: the state and verdict of one photo."""

from dataclasses import asdict

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.output import emit, emit_json, json_option
from db.errors import NotFoundError
from db.policy.verdicts import VerdictReader
from db.store.ids import check_id

_NO_SIGNALS = "signals     none, which means nothing: metadata is easily removed"


@click.group(cls=WholeHelpGroup)
def image() -> None:
    """One photo: its state and verdict."""


@image.command("show")
@click.argument("image_id", metavar="IMAGE")
@json_option
def image_show_command(*, image_id: str, as_json: bool) -> None:
    """Show the state, score, threshold, case and signals of a photo. Without a score there is no verdict.

    Signals are what the photo's file says of its origin. A camera's name proves nothing; and no signals mean
    nothing, since metadata is easily removed.
    """
    with open_database().reading() as session:
        found = VerdictReader().find(session, check_id("image_id", image_id))
    if found is None:
        raise NotFoundError(f"image {image_id!r} is not in the record")
    row = asdict(found.verdict) | {
        "account_id": found.account_id,
        "scored_at": found.scored_at,
        "case_state": found.case_state,
    }
    if as_json:
        emit_json(row)
        return
    for name, value in row.items():
        if name != "signals":
            click.echo(f"{name.replace('_', ' '):<12}{_shown(value)}")
    emit(found.verdict.signals, as_json=False, empty=_NO_SIGNALS)


def _shown(value: object) -> str:
    if value is None or value == []:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
