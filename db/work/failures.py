"""Images without a score and the reasons why: finding them, trying them again, or dropping them."""

from collections.abc import Collection
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import NotFoundError
from db.schema import Image

#: Images without a score: given up, failed and tried again, or not to be scored at all.
Kind = Literal["failed", "retrying", "not_scorable"]


def list_failures(session: Session, limit: int, kind: Kind = "failed") -> list[Image]:
    """The images of one kind, the latest first."""
    statement = select(Image).where(_of(kind))
    return list(session.scalars(statement.order_by(Image.changed_at.desc()).limit(limit)))


def show(session: Session, image_id: str) -> Image:
    """One image, whatever became of it; raises `NotFoundError`."""
    image = session.get(Image, image_id)
    if image is None:
        raise NotFoundError(f"image {image_id!r} is not in the record")
    return image


def by_reason(session: Session, kind: Kind = "failed") -> dict[str, int]:
    """How many images of one kind there are for each reason, the most frequent first."""
    statement = (
        select(Image.reason, func.count())
        .where(_of(kind))
        .group_by(Image.reason)
        .order_by(func.count().desc(), Image.reason)
    )
    return {reason or "unknown": count for reason, count in session.execute(statement)}


def retry(session: Session, ids: Collection[str] | None = None, reason: str | None = None) -> list[str]:
    """Put failed images in line again: these, those that failed for a reason, or all; returns which.

    Dropped ones only by id. They get all their attempts again; what lost a worker before is still suspect.
    """
    named = Image.state.in_(("failed", "not_scorable")) if ids is not None else _failed()
    suspect = case((Image.losses > 0, 1), else_=0)
    return _change(
        session,
        [named, *_chosen(ids, reason)],
        {"state": "pending", "attempts": suspect, "losses": suspect, "sends": 0, "next_attempt_at": moment()},
    )


def drop(session: Session, actor: str, ids: Collection[str] | None = None, reason: str | None = None) -> list[str]:
    """Take failed images off the list for good, as not scorable; returns which. Their reason stays, and who did it."""
    detail = f"dropped by {actor}: " + func.coalesce(Image.detail, "")
    return _change(session, [_failed(), *_chosen(ids, reason)], {"state": "not_scorable", "detail": detail})


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


def _failed() -> ColumnElement[bool]:
    return _of("failed")
