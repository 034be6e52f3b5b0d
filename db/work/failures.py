"""Images without a score and the reasons why: listing them, requeueing them, or dropping them."""

from collections.abc import Collection
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.schema import Image
from db.schema.clock import moment
from db.schema.soundness import is_sound
from db.work.reasons import REASONS

#: Why an image has no score: we or its host failed, the photo is unusable, or it failed and is due for another try.
Kind = Literal["failed", "unusable", "retrying"]
_DROPPED = "dropped by "


def list_failures(session: Session, limit: int, kind: Kind = "failed") -> list[Image]:
    """The images of one kind, the latest first."""
    return list(session.scalars(select(Image).where(_of(kind)).order_by(Image.changed_at.desc()).limit(limit)))


def get_image(session: Session, image_id: str) -> Image:
    """One image, in whatever state; raises `NotFoundError`."""
    image = session.get(Image, image_id)
    if image is None:
        raise NotFoundError(f"image {image_id!r} is not in the record")
    return image


def count_by_reason(session: Session, kind: Kind = "failed") -> dict[str, int]:
    """How many images of one kind there are for each reason, the most frequent first."""
    statement = (
        select(Image.reason, func.count())
        .where(_of(kind))
        .group_by(Image.reason)
        .order_by(func.count().desc(), Image.reason)
    )
    return {reason or "unknown": count for reason, count in session.execute(statement)}


def requeue(session: Session, ids: Collection[str] | None = None, reason: str | None = None) -> list[str]:
    """Make images due again: these, those given up for a reason, or all that failed; returns their ids.

    Dropped images are requeued only by id. All attempts are available again, but an image that lost a worker stays
    suspect. An odd row stays as it is, since nobody could work on it. Raises `NotFoundError` for a reason that does not
    exist.
    """
    check_reason(session, reason)
    named = Image.state.in_(("failed", "unusable")) if ids is not None else _of("failed")
    if reason is not None:  # a limit may have been raised: then photos that were too large are usable
        named |= _of("unusable") & func.coalesce(Image.detail, "").not_like(f"{_DROPPED}%")
    suspect = case((Image.losses > 0, 1), else_=0)
    return _change(
        session,
        [named, *_chosen(ids, reason), is_sound(Image.id)],
        {"state": "pending", "attempts": suspect, "losses": suspect, "sends": 0, "next_attempt_at": moment()},
    )


def drop_failures(
    session: Session, actor: str, ids: Collection[str] | None = None, reason: str | None = None
) -> list[str]:
    """Mark failed images unusable, with their reason and who dropped them; returns their ids.

    Raises `NotFoundError` for a reason that does not exist.
    """
    check_reason(session, reason)
    detail = f"{_DROPPED}{actor}: " + func.coalesce(Image.detail, "")
    return _change(session, [_of("failed"), *_chosen(ids, reason)], {"state": "unusable", "detail": detail})


def check_reason(session: Session, reason: str | None) -> None:
    """Raises `NotFoundError` for a reason that neither this software nor the record knows; it lists those on record."""
    if reason is None or reason in REASONS:
        return
    found = count_by_reason(session) | count_by_reason(session, "unusable")
    if reason not in found:
        raise NotFoundError(f"reason {reason!r} is unknown; reasons on record: {', '.join(sorted(found)) or 'none'}")


def _change(session: Session, chosen: list[ColumnElement[bool]], change: dict[str, Any]) -> list[str]:
    statement = (
        update(Image)
        .where(*chosen)
        .values(change | {"lease_owner": None, "lease_until": None, "changed_at": moment()})
        .returning(Image.id)
        .execution_options(synchronize_session=False)
    )
    return sorted(session.scalars(statement))


def _chosen(ids: Collection[str] | None, reason: str | None) -> list[ColumnElement[bool]]:
    chosen = [Image.id.in_(ids)] if ids is not None else []
    return chosen + ([Image.reason == reason] if reason is not None else [])


def _of(kind: Kind) -> ColumnElement[bool]:
    if kind == "retrying":
        return (Image.state == "pending") & Image.reason.is_not(None)
    return Image.state == kind
