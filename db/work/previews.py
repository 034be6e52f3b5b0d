"""Pictures of images to show to people: their state, and requests for those that are missing."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.schema import Image, Preview, Request
from db.work import on_demand

#: The kind of request that makes each kind of picture.
_REQUESTS = {picture: request for request, picture in on_demand.PICTURES.items()}
PHOTO, HEATMAP, ORIGINAL = "photo", "heatmap", "original"
#: A small copy of the photo for lists, made together with it.
THUMB = on_demand.THUMB


@dataclass(frozen=True, slots=True)
class PictureState:
    """The state of a picture: "ready", "making" (``since`` it was requested), "failed", "gone" or "missing"."""

    image_id: str
    kind: str
    state: str
    reason: str | None = None
    since: datetime | None = None


def picture_states(session: Session, image_ids: Collection[str], kind: str) -> dict[str, PictureState]:
    """The state of each image's picture of a kind."""
    kept = select(Preview.image_id, Preview.picture.is_not(None)).where(Preview.kind == kind)
    there = dict(session.execute(kept.where(Preview.image_id.in_(image_ids))).all())
    asked = _asked(session, image_ids, kind)
    erased = set(session.scalars(select(Image.id).where(Image.id.in_(image_ids), Image.url.is_(None))))
    return {i: _state(i, kind, there.get(i), asked.get(i), erased=i in erased) for i in image_ids}


def request_missing(session: Session, found: Collection[PictureState], author: str, *, again: bool = False) -> None:
    """Request the pictures that are missing; ``again``: also those that failed."""
    for picture in found:
        if picture.state == "missing" or (again and picture.state == "failed"):
            on_demand.add_request(session, _REQUESTS[picture.kind], picture.image_id, author)


def read_picture(session: Session, image_id: str, kind: str) -> bytes | None:
    """The picture's bytes; None when there is none."""
    return session.scalar(select(Preview.picture).where(Preview.image_id == image_id, Preview.kind == kind))


def read_thumb(session: Session, image_id: str) -> bytes | None:
    """The small picture's bytes; the preview where it was made without one; None when there is neither."""
    return read_picture(session, image_id, THUMB) or read_picture(session, image_id, PHOTO)


def _asked(session: Session, image_ids: Collection[str], kind: str) -> dict[str, Request]:
    """The latest request for each image."""
    latest = (
        select(func.max(Request.id))
        .where(Request.image_id.in_(image_ids), Request.kind == _REQUESTS[kind])
        .group_by(Request.image_id)
    )
    return {row.image_id: row for row in session.scalars(select(Request).where(Request.id.in_(latest)))}


def _state(image_id: str, kind: str, there: bool | None, asked: Request | None, *, erased: bool) -> PictureState:
    if there:
        return PictureState(image_id, kind, "ready")
    if erased or (there is False and (asked is None or asked.state != "pending")):
        return PictureState(image_id, kind, "gone")
    if asked is not None and asked.state == "pending":
        return PictureState(image_id, kind, "making", asked.reason, asked.created_at)
    if asked is not None and asked.state == "failed":
        return PictureState(image_id, kind, "failed", asked.detail or asked.reason)
    return PictureState(image_id, kind, "missing")
