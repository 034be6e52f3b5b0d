"""``unmask failures``: images that could not be scored; list, retry or drop them."""

from collections.abc import Collection
from typing import Any

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import as_lead
from db.commands.output import emit, emit_json, json_option
from db.schema import Image
from db.work import failures
from db.work.failures import Kind

ids_argument = click.argument("image_ids", nargs=-1, metavar="[IMAGE]...")
_EMPTY: dict[Kind, str] = {
    "failed": "no image has failed",
    "retrying": "no failed image waits for another try",
    "unusable": "no photo is unusable",
}
reason_option = click.option("--reason", help="All that were given up for this reason, such as timeout.")


@click.group("failures", cls=WholeHelpGroup)
def failures_group() -> None:
    """Images that could not be scored, each with its reason."""


@failures_group.command("list")
@click.option(
    "--state",
    type=click.Choice(["failed", "unusable", "retrying"]),
    default="failed",
    show_default=True,
    help="failed: by us or the host; unusable: the photo's fault, and dropped ones; retrying: tried again.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def failures_list(*, state: Kind, limit: int, as_json: bool) -> None:
    """List images without a score, the latest first."""
    with open_database().reading() as session:
        rows = [_row(image) for image in failures.list_failures(session, limit, state)]
    emit(rows, as_json=as_json, empty=_EMPTY[state])


@failures_group.command("show")
@click.argument("image_id", metavar="IMAGE")
@json_option
def failures_show(*, image_id: str, as_json: bool) -> None:
    """Show one image: its state, the reason, and when it is tried next."""
    with open_database().reading() as session:
        image = failures.get_image(session, image_id)
        row = _row(image) | {
            "url": image.url,
            "losses": image.losses,
            "next_attempt_at": image.next_attempt_at if image.state == "pending" else None,
            "in_hand_of": image.lease_owner,
            "added_at": image.created_at,
        }
    if as_json:
        emit_json(row)
    else:
        emit([row], as_json=False, empty="")


@failures_group.command("retry")
@ids_argument
@reason_option
@click.option("--all", "everything", is_flag=True, help="All failed images.")
@json_option
def failures_retry(*, image_ids: tuple[str, ...], reason: str | None, everything: bool, as_json: bool) -> None:
    """Queue failed images again, with all their attempts; by id or reason, unusable ones too."""
    ids = _chosen(image_ids, reason, everything=everything)
    with open_database().writing() as session:
        as_lead(session)
        changed = failures.requeue(session, ids, reason)
    _report(changed, image_ids, "queued again", as_json=as_json)


@failures_group.command("drop")
@ids_argument
@reason_option
@json_option
def failures_drop(*, image_ids: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Mark failed images unusable; they can still be queued again by id."""
    ids = _chosen(image_ids, reason)
    with open_database().writing() as session:
        who = as_lead(session)
        changed = failures.drop_failures(session, who, ids, reason)
    _report(changed, image_ids, "dropped", as_json=as_json)


def _chosen(image_ids: tuple[str, ...], reason: str | None, *, everything: bool = False) -> Collection[str] | None:
    """The ids, or None for all; raises `UsageError` unless the selection is made in exactly one way."""
    if bool(image_ids) + (reason is not None) + everything != 1:
        raise click.UsageError("choose images in one way: by id, by --reason CODE, or (for retry) by --all")
    return image_ids or None


def _report(changed: list[str], asked: tuple[str, ...], what: str, *, as_json: bool) -> None:
    """Print what changed; exit status 1 when a named image did not."""
    if as_json:
        emit_json([{"image": image_id} for image_id in changed])
    click.echo(f"{len(changed)} images {what}", err=True)
    left = sorted(set(asked) - set(changed))
    if left:
        click.echo(f"left unchanged, since they are not failures, or odd rows: {', '.join(left)}", err=True)
        raise SystemExit(1)


def _row(image: Image) -> dict[str, Any]:
    return {
        "image": image.id,
        "account": image.account_id,
        "state": image.state,
        "reason": image.reason,
        "detail": image.detail,
        "attempts": image.attempts,
        "at": image.changed_at,
    }
