"""Work that is asked of workers: pictures of images, another score, a perceptual hash. Each is done once.

What people wait for is sent by the sweeper. Hashes (kind "look") are not: workers take them that have nothing to do.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, literal, select, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.store.insert import insert
from db.schema import Flag, Image, Look, Preview, Request

#: Kinds of requests that are sent, and the picture that comes of each; of a rescore comes a score.
PICTURES = {"preview": "photo", "heatmap": "heatmap"}
SENT = (*PICTURES, "rescore")
#: Kinds that are not: whoever has nothing to do takes them.
SPARE = ("look",)


@dataclass(frozen=True, slots=True)
class Task:
    """A request in hand. ``attempts`` counts this one; ``url`` is null once the account was erased.

    ``sha256`` is the digest of the file that was scored.
    """

    id: int
    kind: str
    image_id: str
    url: str | None
    attempts: int
    sha256: str | None = None


def ask(session: Session, kind: str, image_id: str, author: str) -> int:
    """Ask for a picture of an image, or for a score of the active model; returns the request's id."""
    request = Request(kind=kind, image_id=image_id, author=author)
    session.add(request)
    session.flush()
    return request.id


def ask_looks(session: Session, which: ColumnElement[bool]) -> None:
    """Ask for the perceptual hashes of flagged photos, those that have none and were not asked for.

    ``which`` is a condition on `Flag`. A photo that was flagged after it was scored has none: nobody keeps those of
    photos that are not flagged.
    """
    asked = select(Request.id).where(Request.image_id == Flag.image_id, Request.kind == "look")
    kept = select(Look.image_id).where(Look.image_id == Flag.image_id)
    author = func.min(literal("threshold ").concat(cast(Flag.threshold_id, String)))
    photos = select(literal("look"), Flag.image_id, author).group_by(Flag.image_id)
    photos = photos.where(which, ~kept.exists(), ~asked.exists())
    session.execute(insert(session, Request).from_select(["kind", "image_id", "author"], photos))


def take_due(session: Session, limit: int, resend_s: float) -> list[int]:
    """Ids of requests that should be sent now, the oldest; they come again after ``resend_s`` unless done."""
    ids = _due(session, SENT, limit)
    if ids:
        _change(session, ids, next_attempt_at=moment(resend_s))
    return ids


def unsent(session: Session, ids: Collection[int], pause_s: float) -> None:
    """Requests that were taken and not sent are due again after ``pause_s``."""
    _change(session, ids, next_attempt_at=moment(pause_s))


def later(session: Session, task: Task, pause_s: float) -> None:
    """Put back what cannot be begun just now; it was not tried."""
    _change(session, [task.id], attempts=Request.attempts - 1, next_attempt_at=moment(pause_s))


def take_looks(session: Session, limit: int, hold_s: float) -> list[Task]:
    """Take requests for perceptual hashes in hand, the oldest; as `begin`."""
    ids = _due(session, SPARE, limit)
    return begin(session, ids, hold_s) if ids else []


def begin(session: Session, ids: Collection[int], hold_s: float) -> list[Task]:
    """Take requests in hand, those that are not done; nobody sends them for ``hold_s``, and the attempt counts."""
    open_ids = list(session.scalars(select(Request.id).where(Request.id.in_(ids), Request.state == "pending")))
    _change(session, open_ids, next_attempt_at=moment(hold_s), attempts=Request.attempts + 1)
    statement = (
        select(Request.id, Request.kind, Request.image_id, Image.url, Request.attempts, Image.sha256)
        .join(Image, Image.id == Request.image_id)
        .where(Request.id.in_(open_ids))
        .order_by(Request.id)
    )
    return [Task(*row) for row in session.execute(statement)]


def done(session: Session, task: Task, picture: bytes) -> None:
    """Keep the picture, in place of an older one, and close the request; unless it was taken back meanwhile."""
    if not close(session, task):
        return
    row = {"image_id": task.image_id, "kind": PICTURES[task.kind], "picture": picture}
    statement = insert(session, Preview).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["image_id", "kind"], set_={"picture": picture, "created_at": moment()}
    )
    session.execute(statement)


def close(session: Session, task: Task) -> bool:
    """It is done; False when it was closed before: by another, or because the account was erased.

    Who erases holds the image's row first, and so does this: one waits for the other, and neither for both.
    """
    session.execute(select(Image.id).where(Image.id == task.image_id).with_for_update(read=True, key_share=True))
    return _change(session, [task.id], state="done", reason=None, detail=None) > 0


def failed(session: Session, task: Task, reason: str, detail: str, retry_s: float | None) -> None:
    """Say why there is no picture: for another attempt after ``retry_s``, or for good."""
    state = "failed" if retry_s is None else "pending"
    _change(session, [task.id], state=state, reason=reason, detail=detail, next_attempt_at=moment(retry_s or 0.0))


def counts(session: Session, kinds: Collection[str]) -> dict[str, int]:
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
    """Of requests that are still pending; how many that were."""
    statement = update(Request).where(Request.id.in_(ids), Request.state == "pending").values(change)
    changed: Any = session.execute(statement.execution_options(synchronize_session=False))
    return int(changed.rowcount)
