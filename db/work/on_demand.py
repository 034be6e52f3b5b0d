"""Requests on demand: pictures of images, another score, a perceptual hash. Each is fulfilled once.

The sweeper sends what people wait for. Idle workers lease requests for hashes (kind "look") themselves.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, String, case, cast, func, literal, select, update
from sqlalchemy.orm import Session

from db.schema import Flag, Image, PerceptualHash, Preview, Request
from db.schema.clock import moment
from db.schema.soundness import MAX_COUNT
from db.store.dialect import insert

#: The kinds that produce a picture, and which; all kinds that the sweeper sends.
PICTURES = {"preview": "photo", "original": "original", "heatmap": "heatmap"}
RELAYED_KINDS = (*PICTURES, "rescore")
#: The small copy that is stored with a preview.
THUMB = "thumb"
#: The kinds that idle workers lease.
IDLE_KINDS = ("look",)


@dataclass(frozen=True, slots=True)
class LeasedRequest:
    """A leased request. ``attempts`` includes this one; ``url`` is None once the account was erased.

    ``sha256`` is the digest of the file that was scored.
    """

    id: int
    kind: str
    image_id: str
    url: str | None
    attempts: int
    sha256: str | None = None


def add_request(session: Session, kind: str, image_id: str, author: str) -> int:
    """Request a picture of an image, or a score of the active model; returns the request's id."""
    request = Request(kind=kind, image_id=image_id, author=author)
    session.add(request)
    session.flush()
    return request.id


def request_hashes(session: Session, which: ColumnElement[bool]) -> None:
    """Request the perceptual hashes of flagged photos that have none, unless they were requested before.

    ``which`` is a condition on `Flag`. A photo that was flagged after it was scored has no hash: only hashes of flagged
    photos are kept.
    """
    asked = select(Request.id).where(Request.image_id == Flag.image_id, Request.kind == "look")
    kept = select(PerceptualHash.image_id).where(PerceptualHash.image_id == Flag.image_id)
    author = func.coalesce(func.min(literal("threshold ").concat(cast(Flag.threshold_id, String))), "provenance")
    photos = select(literal("look"), Flag.image_id, author).group_by(Flag.image_id)
    photos = photos.where(which, ~kept.exists(), ~asked.exists())
    session.execute(insert(session, Request).from_select(["kind", "image_id", "author"], photos))


def take_due_requests(session: Session, limit: int, resend_s: float) -> list[int]:
    """Ids of due requests to send now, the longest due first; each is due again after ``resend_s`` unless done."""
    ids = _due(session, RELAYED_KINDS, limit)
    if ids:
        _change(session, ids, next_attempt_at=moment(resend_s))
    return ids


def return_unsent_requests(session: Session, ids: Collection[int], pause_s: float) -> None:
    """Make requests that could not be sent due again after ``pause_s``."""
    _change(session, ids, next_attempt_at=moment(pause_s))


def postpone(session: Session, task: LeasedRequest, pause_s: float) -> None:
    """Put back a request that cannot start now, without counting the attempt."""
    _change(session, [task.id], attempts=Request.attempts - 1, next_attempt_at=moment(pause_s))


def lease_hash_requests(session: Session, limit: int, hold_s: float) -> list[LeasedRequest]:
    """Lease requests for perceptual hashes, the longest due first, as `lease_requests` does."""
    ids = _due(session, IDLE_KINDS, limit)
    return lease_requests(session, ids, hold_s) if ids else []


def lease_requests(session: Session, ids: Collection[int], hold_s: float) -> list[LeasedRequest]:
    """Lease those of these requests that are pending: nobody sends them for ``hold_s``, and the attempt counts."""
    open_ids = list(session.scalars(select(Request.id).where(Request.id.in_(ids), Request.state == "pending")))
    # Whoever asks writes the row: a count that cannot grow must not fail the lease of the others.
    counted = case((Request.attempts.between(0, MAX_COUNT), Request.attempts + 1), else_=MAX_COUNT)
    _change(session, open_ids, next_attempt_at=moment(hold_s), attempts=counted)
    statement = (
        select(Request.id, Request.kind, Request.image_id, Image.url, Request.attempts, Image.sha256)
        .join(Image, Image.id == Request.image_id)
        .where(Request.id.in_(open_ids))
        .order_by(Request.id)
    )
    return [LeasedRequest(*row) for row in session.execute(statement)]


def store_picture(session: Session, task: LeasedRequest, picture: bytes, thumb: bytes | None = None) -> None:
    """Store the picture, and a small copy of it, in place of older ones, and close the request.

    Stores nothing if the request was closed meanwhile.
    """
    if not close_request(session, task):
        return
    for kind, data in ((PICTURES[task.kind], picture), (THUMB, thumb)):
        if data is not None:
            statement = insert(session, Preview).values(image_id=task.image_id, kind=kind, picture=data)
            changed = {"picture": data, "created_at": moment()}
            session.execute(statement.on_conflict_do_update(index_elements=["image_id", "kind"], set_=changed))


def close_request(session: Session, task: LeasedRequest) -> bool:
    """Mark it done; False when it was closed before: by another worker, or because the account was erased.

    Erasure locks the image's row first, and so does this: one waits for the other, so they cannot deadlock.
    """
    session.execute(select(Image.id).where(Image.id == task.image_id).with_for_update(read=True, key_share=True))
    return _change(session, [task.id], state="done", reason=None, detail=None) > 0


def fail_request(session: Session, task: LeasedRequest, reason: str, detail: str, retry_s: float | None) -> None:
    """Record why there is no picture: for another attempt after ``retry_s``, or for good."""
    state = "failed" if retry_s is None else "pending"
    _change(session, [task.id], state=state, reason=reason, detail=detail, next_attempt_at=moment(retry_s or 0.0))


def count_requests(session: Session, kinds: Collection[str]) -> dict[str, int]:
    """How many requests of these kinds are in each state."""
    states = select(Request.state, func.count()).where(Request.kind.in_(kinds)).group_by(Request.state)
    found = dict(session.execute(states).all())
    return {state: found.get(state, 0) for state in ("pending", "done", "failed")}


def _due(session: Session, kinds: Collection[str], limit: int) -> list[int]:
    due = (
        select(Request.id)
        .where(Request.state == "pending", Request.next_attempt_at <= moment(), Request.kind.in_(kinds))
        .order_by(Request.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(due))


def _change(session: Session, ids: Collection[int], **change: object) -> int:
    """Change those that are still pending; returns how many."""
    statement = update(Request).where(Request.id.in_(ids), Request.state == "pending").values(change)
    changed: Any = session.execute(statement.execution_options(synchronize_session=False))
    return int(changed.rowcount)
