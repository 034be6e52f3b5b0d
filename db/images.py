"""Images waiting for a score: adding them, taking them in hand, and giving them up with a reason.

An image is *due* when its ``next_attempt_at`` has come and nobody has it in hand; the sweeper sends what is due.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Float, Update, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from db.clock import moment
from db.errors import ConflictError
from db.insert import insert
from db.schema import ID_LENGTH, Image


@dataclass(frozen=True, slots=True)
class NewImage:
    """A photo as the upload flow knows it."""

    id: str
    account_id: str
    url: str
    policy: str = "default"


@dataclass(frozen=True, slots=True)
class Job:
    """An image in hand: what a worker must know to score it. ``attempts`` counts this one."""

    image_id: str
    account_id: str | None
    url: str | None
    policy: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image in hand was not scored. ``retry_s``: when to try again; None: never."""

    image_id: str
    reason: str
    detail: str
    retry_s: float | None = None


def check_id(name: str, value: object) -> str:
    """An id as the schema wants it; raises ValueError naming it, its limit and its value."""
    if not isinstance(value, str) or not 1 <= len(value) <= ID_LENGTH or "\0" in value:
        shown = repr(value) if len(repr(value)) <= ID_LENGTH else f"{len(str(value))} characters"
        raise ValueError(f"{name} must be text of 1 to {ID_LENGTH} characters, without NUL: {shown}")
    return value


def add(session: Session, images: Sequence[NewImage], resend_s: float) -> list[str]:
    """Add images that are not known yet; returns the ids that were added.

    Their messages are the caller's to send, so the sweeper leaves them alone for ``resend_s``. Raises `ConflictError`
    when an id is known with another account, URL or policy.
    """
    if not images:
        return []
    statement = (
        insert(session, Image)
        .values([asdict(image) | {"next_attempt_at": moment(resend_s)} for image in images])
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(Image.id)
    )
    added = set(session.scalars(statement))
    _check_same(session, [image for image in images if image.id not in added])
    return [image.id for image in images if image.id in added]


def lease(session: Session, ids: Collection[str], owner: str, lease_s: float) -> list[Job]:
    """Take these images in hand, those that are pending and in nobody else's; one statement for all."""
    free = (
        select(Image.id)
        .where(Image.id.in_(ids), Image.state == "pending", _not_in_hand())
        .order_by(Image.id)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Image)
        .where(Image.id.in_(free))
        .values(lease_owner=owner, lease_until=moment(lease_s), attempts=Image.attempts + 1)
        .returning(Image.id, Image.account_id, Image.url, Image.policy, Image.attempts)
        .execution_options(synchronize_session=False)
    )
    return [Job(*row) for row in session.execute(statement)]


def take_due(session: Session, limit: int, resend_s: float) -> list[str]:
    """Ids of images that should be sent now, the oldest; they come again after ``resend_s`` unless taken in hand."""
    due = (  # a CTE runs once; a plan may run a subquery again for each row, and so take more than ``limit``
        select(Image.id)
        .where(Image.state == "pending", Image.next_attempt_at <= moment(), _not_in_hand())
        .order_by(Image.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    statement = (
        update(Image)
        .where(Image.id.in_(select(due.c.id)))
        .values(next_attempt_at=moment(resend_s))
        .returning(Image.id)
        .execution_options(synchronize_session=False)
    )
    return list(session.scalars(statement))


def park_exhausted(session: Session, max_attempts: int) -> list[str]:
    """Give up images that were taken in hand ``max_attempts`` times and never came back: they kill their workers."""
    statement = (
        update(Image)
        .where(
            Image.state == "pending",
            Image.next_attempt_at <= moment(),
            _not_in_hand(),
            Image.attempts >= max_attempts,
        )
        .values(
            state="failed",
            reason=func.coalesce(Image.reason, "worker_lost"),
            detail=func.coalesce(Image.detail, f"no result after {max_attempts} attempts"),
            lease_owner=None,
            lease_until=None,
            changed_at=moment(),
        )
        .returning(Image.id)
        .execution_options(synchronize_session=False)
    )
    return list(session.scalars(statement))


def put_back(session: Session, failures: Sequence[Failure]) -> None:
    """Let go of images that were not scored, each with its reason: for another attempt, or for good."""
    for final in (True, False):
        rows = [
            {"b_id": f.image_id, "b_reason": f.reason, "b_detail": f.detail, "b_retry": f.retry_s or 0.0}
            for f in sorted(failures, key=lambda f: f.image_id)
            if (f.retry_s is None) == final
        ]
        if rows:
            session.connection().execute(_put_back_statement(final=final), rows)


def counts(session: Session) -> dict[str, int]:
    """How many images are in each state."""
    found = dict(session.execute(select(Image.state, func.count()).group_by(Image.state)).all())
    return {state: found.get(state, 0) for state in ("pending", "scored", "failed", "not_scorable")}


def in_hand(session: Session) -> int:
    """How many images workers have in hand."""
    statement = select(func.count()).where(Image.state == "pending", Image.lease_until > moment())
    return session.scalar(statement) or 0


def oldest_pending(session: Session) -> datetime | None:
    """When the image was added that has waited longest."""
    return session.scalar(select(func.min(Image.created_at)).where(Image.state == "pending"))


def failures(session: Session, limit: int) -> list[Image]:
    """Images that were given up, the latest first."""
    statement = select(Image).where(Image.state.in_(("failed", "not_scorable"))).order_by(Image.changed_at.desc())
    return list(session.scalars(statement.limit(limit)))


def _not_in_hand() -> ColumnElement[bool]:
    return or_(Image.lease_until.is_(None), Image.lease_until <= moment())


def _put_back_statement(*, final: bool) -> Update:
    """For an executemany; an image that was scored in the meantime, by another worker, stays scored."""
    statement = update(Image).where(Image.id == bindparam("b_id"), Image.state == "pending")
    return statement.values(
        state="failed" if final else "pending",
        reason=bindparam("b_reason"),
        detail=bindparam("b_detail"),
        next_attempt_at=moment(bindparam("b_retry", type_=Float)),
        lease_owner=None,
        lease_until=None,
        changed_at=moment(),
    )


def _check_same(session: Session, images: Sequence[NewImage]) -> None:
    """The same image twice is one image; another image under a known id is a mistake that must be heard of."""
    given = {image.id: image for image in images}
    known = select(Image.id, Image.account_id, Image.url, Image.policy).where(Image.id.in_(given))
    for row in session.execute(known) if given else ():
        found = NewImage(row.id, row.account_id or "", row.url or "", row.policy)
        for field in ("account_id", "url", "policy"):
            if getattr(found, field) != getattr(given[row.id], field):
                raise ConflictError(f"image {row.id!r} is known with another {field}: an id stands for one photo")
