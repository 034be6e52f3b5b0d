"""Work that people ask of workers: pictures of images, or another score. Sent by the sweeper, and done once."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.clock import moment
from db.insert import insert
from db.schema import Image, Preview, Request

#: Kinds of requests, and the picture that comes of each; of a rescore comes a score.
PICTURES = {"preview": "photo", "heatmap": "heatmap"}
KINDS = (*PICTURES, "rescore")


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


def take_due(session: Session, limit: int, resend_s: float) -> list[int]:
    """Ids of requests that should be sent now, the oldest; they come again after ``resend_s`` unless done."""
    due = (
        select(Request.id)
        .where(Request.state == "pending", Request.next_attempt_at <= moment(), Request.kind.in_(KINDS))
        .order_by(Request.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(session.scalars(due))
    if ids:
        _change(session, ids, next_attempt_at=moment(resend_s))
    return ids


def begin(session: Session, ids: Collection[int], hold_s: float) -> list[Task]:
    """Take requests in hand, those that are not done; nobody sends them for ``hold_s``, and the attempt counts."""
    open_ids = list(session.scalars(select(Request.id).where(Request.id.in_(ids), Request.state == "pending")))
    _change(session, open_ids, next_attempt_at=moment(hold_s), attempts=Request.attempts + 1)
    statement = (
        select(Request.id, Request.kind, Request.image_id, Image.url, Request.attempts, Image.sha256)
        .join(Image, Image.id == Request.image_id)
        .where(Request.id.in_(open_ids), Request.kind.in_(KINDS))
        .order_by(Request.id)
    )
    return [Task(*row) for row in session.execute(statement)]


def done(session: Session, task: Task, picture: bytes) -> None:
    """Keep the picture, in place of an older one, and close the request."""
    row = {"image_id": task.image_id, "kind": PICTURES[task.kind], "picture": picture}
    statement = insert(session, Preview).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["image_id", "kind"], set_={"picture": picture, "created_at": moment()}
    )
    session.execute(statement)
    close(session, task)


def close(session: Session, task: Task) -> None:
    """It is done."""
    _change(session, [task.id], state="done", reason=None, detail=None)


def failed(session: Session, task: Task, reason: str, detail: str, retry_s: float | None) -> None:
    """Say why there is no picture: for another attempt after ``retry_s``, or for good."""
    state = "failed" if retry_s is None else "pending"
    _change(session, [task.id], state=state, reason=reason, detail=detail, next_attempt_at=moment(retry_s or 0.0))


def counts(session: Session) -> dict[str, int]:
    """How many requests are in each state."""
    found = dict(session.execute(select(Request.state, func.count()).group_by(Request.state)).all())
    return {state: found.get(state, 0) for state in ("pending", "done", "failed")}


def _change(session: Session, ids: Collection[int], **change: object) -> None:
    """Of requests that are still pending."""
    statement = update(Request).where(Request.id.in_(ids), Request.state == "pending").values(change)
    session.execute(statement.execution_options(synchronize_session=False))
