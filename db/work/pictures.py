"""Pictures of images that people are shown: there, being made, failed, or gone; asked for where they are missing."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.work import requests
from db.schema import Image, Preview, Request

#: What is asked for, to get each kind of picture.
_REQUESTS = {picture: request for request, picture in requests.PICTURES.items()}
PHOTO, HEATMAP = "photo", "heatmap"


@dataclass(frozen=True, slots=True)
class PictureState:
    """How it stands with a picture: "ready", "making", "failed", "gone" or "missing"."""

    image_id: str
    kind: str
    state: str
    reason: str | None = None


def states(session: Session, image_ids: Collection[str], kind: str) -> dict[str, PictureState]:
    """How it stands with each image's picture of a kind."""
    kept = select(Preview.image_id, Preview.picture.is_not(None)).where(Preview.kind == kind)
    there = dict(session.execute(kept.where(Preview.image_id.in_(image_ids))).all())
    asked = _asked(session, image_ids, kind)
    erased = set(session.scalars(select(Image.id).where(Image.id.in_(image_ids), Image.url.is_(None))))
    return {i: _state(i, kind, there.get(i), asked.get(i), erased=i in erased) for i in image_ids}


def ask_missing(session: Session, found: Collection[PictureState], author: str, *, again: bool = False) -> None:
    """Ask workers for those that nobody has asked for; ``again``: also for those that failed."""
    for picture in found:
        if picture.state == "missing" or (again and picture.state == "failed"):
            requests.ask(session, _REQUESTS[picture.kind], picture.image_id, author)


def read(session: Session, image_id: str, kind: str) -> bytes | None:
    """The picture itself."""
    return session.scalar(select(Preview.picture).where(Preview.image_id == image_id, Preview.kind == kind))


def _asked(session: Session, image_ids: Collection[str], kind: str) -> dict[str, Request]:
    """The latest request for each."""
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
        return PictureState(image_id, kind, "making")
    if asked is not None and asked.state == "failed":
        return PictureState(image_id, kind, "failed", asked.detail or asked.reason)
    return PictureState(image_id, kind, "missing")
