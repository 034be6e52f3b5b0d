"""``unmask failures``: images that could not be scored, and what to do about them."""

from collections.abc import Collection
from typing import Any

import click

from db.work import failures
from db.cli import open_database
from db.work.failures import Kind
from db.output import emit, emit_json, json_option
from db.schema import Image
from db.settings import actor

ids_argument = click.argument("image_ids", nargs=-1, metavar="[IMAGE]...")
_EMPTY: dict[Kind, str] = {
    "failed": "every image that was tried has a score",
    "retrying": "nothing is tried again",
    "not_scorable": "no image was left unscored on purpose",
}
reason_option = click.option("--reason", help="Those that failed for this reason, such as timeout.")


@click.group("failures")
def failures_group() -> None:
    """Images that could not be scored, each with its reason."""


@failures_group.command("list")
@click.option("--retrying", is_flag=True, help="Those that failed and are tried again, instead of those given up.")
@click.option("--not-scorable", is_flag=True, help="Those that the model is not for, and those that were dropped.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def failures_list(*, retrying: bool, not_scorable: bool, limit: int, as_json: bool) -> None:
    """Images without a score, the latest first."""
    if retrying and not_scorable:
        raise click.UsageError("say which: --retrying or --not-scorable")
    kind: Kind = "retrying" if retrying else "not_scorable" if not_scorable else "failed"
    with open_database().reading() as session:
        rows = [_row(image) for image in failures.list_failures(session, limit, kind)]
    emit(rows, as_json=as_json, empty=_EMPTY[kind])


@failures_group.command("show")
@click.argument("image_id", metavar="IMAGE")
@json_option
def failures_show(*, image_id: str, as_json: bool) -> None:
    """One image: what became of it, why, and what comes next."""
    with open_database().reading() as session:
        image = failures.show(session, image_id)
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
@click.option("--all", "everything", is_flag=True, help="Whatever failed.")
@json_option
def failures_retry(*, image_ids: tuple[str, ...], reason: str | None, everything: bool, as_json: bool) -> None:
    """Put failed images in line again, with all their attempts."""
    ids = _chosen(image_ids, reason, everything=everything)
    with open_database().writing() as session:
        changed = failures.retry(session, ids, reason)
    _report(changed, image_ids, "in line again", as_json=as_json)


@failures_group.command("drop")
@ids_argument
@reason_option
@json_option
def failures_drop(*, image_ids: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Take failed images off the list; their rows stay, as not scorable, and can be tried again by name."""
    ids = _chosen(image_ids, reason)
    with open_database().writing() as session:
        changed = failures.drop(session, actor(), ids, reason)
    _report(changed, image_ids, "dropped", as_json=as_json)


def _chosen(image_ids: tuple[str, ...], reason: str | None, *, everything: bool = False) -> Collection[str] | None:
    """The ids, or None for all; without a word about which, nothing happens to any."""
    if bool(image_ids) + (reason is not None) + everything != 1:
        raise click.UsageError("say which, in one way: ids, or --reason CODE, or (to retry) --all")
    return image_ids or None


def _report(changed: list[str], asked: tuple[str, ...], what: str, *, as_json: bool) -> None:
    """What changed; exit status 1 when something that was named did not."""
    if as_json:
        emit_json([{"image": image_id} for image_id in changed])
    click.echo(f"{len(changed)} images {what}", err=True)
    left = sorted(set(asked) - set(changed))
    if left:
        click.echo(f"left alone, since they are not failures: {', '.join(left)}", err=True)
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
