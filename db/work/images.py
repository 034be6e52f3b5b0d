"""Images waiting for a score: adding them, leasing them to workers, and recording why one was not scored."""

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, String, Text, case, column, false, func, or_, select, update
from sqlalchemy.orm import Session

from db.errors import ConflictError, IdError
from db.schema import LANES, Image
from db.schema.clock import moment
from db.schema.images import IMAGE_STATES
from db.schema.soundness import is_sound
from db.store.dialect import given, insert
from db.work.reasons import outcome_of

#: Rows in one statement: databases limit its parameters.
_CHUNK = 1000


@dataclass(frozen=True, slots=True)
class NewImage:
    """A photo that an application submits."""

    id: str
    account_id: str
    url: str
    policy: str = "default"
    lane: str = "upload"


@dataclass(frozen=True, slots=True)
class LeasedImage:
    """A leased image: what a worker needs to score it. ``attempts`` includes this one.

    ``losses`` counts the attempts whose worker was lost; ``overdue`` says that the image is too old for another try.
    ``age_s`` is the time since it was added, ``waited_s`` since it was added, last tried, or requeued by a person.
    """

    image_id: str
    account_id: str | None
    url: str | None
    policy: str
    attempts: int
    losses: int = 0
    overdue: bool = False
    age_s: float = field(default=0.0, compare=False)
    waited_s: float = field(default=0.0, compare=False)

    @property
    def tries(self) -> int:
        """Attempts that count against a limit: those that ended, and this one."""
        return self.attempts - self.losses


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a leased image was not scored. ``retry_s``: when to try again; None: never."""

    image_id: str
    reason: str
    detail: str
    retry_s: float | None = None

    @property
    def state(self) -> str:
        """The image's state from now on."""
        return "pending" if self.retry_s is not None else outcome_of(self.reason)


def check_lane(lane: str) -> str:
    """Return the lane; raises `IdError` when there is none of this name."""
    if lane not in LANES:
        raise IdError(f"lane must be one of {', '.join(LANES)}: {lane!a}")
    return lane


def add_images(
    session: Session, images: Sequence[NewImage], due_in_s: float = 0.0, *, schema: str | None = None
) -> list[str]:
    """Add images that are not in the record yet; returns the ids that were added. The relay sends them once due.

    ``schema``: on an application's own session, the PostgreSQL schema that holds our tables; that session's other
    statements are not affected. Raises `ConflictError` when an id is in the record, or given twice, with another
    account, URL or policy.
    """
    new = list(_by_id(images).values())
    options = _in_schema(session, schema)
    added: list[str] = []
    for start in range(0, len(new), _CHUNK):
        added += _add(session, new[start : start + _CHUNK], due_in_s, options)
    return added


def _add(session: Session, new: Sequence[NewImage], due_in_s: float, options: dict[str, Any]) -> list[str]:
    statement = (
        insert(session, Image)
        .values(next_attempt_at=moment(due_in_s))
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(Image.id)
        .execution_options(**options)
    )
    # Rows within the statement would make it a new one each time, 20 times as expensive to compile as parameters.
    added = set(session.connection().scalars(statement, [asdict(image) for image in new]))
    _check_known(session, {image.id: image for image in new if image.id not in added}, options)
    return [image.id for image in new if image.id in added]


def _in_schema(session: Session, schema: str | None) -> dict[str, Any]:
    """Options by which a statement finds our tables, whatever the connection's search path is."""
    if schema is None or session.get_bind().dialect.name != "postgresql":
        return {}
    return {"schema_translate_map": {None: schema}}


def lease(
    session: Session, ids: Collection[str], owner: str, lease_s: float, deadline_s: float = math.inf
) -> list[LeasedImage]:
    """Lease those of these images that are pending and free, in one statement.

    A lease that ran out with an owner counts as a loss: that worker is gone. Images at least ``deadline_s`` old are
    overdue. An odd row is not leased: the relay fails it.
    """
    free = (
        select(Image.id)
        .where(Image.id.in_(ids), _is_pending(), not_leased(), is_sound(Image.id))
        .order_by(Image.id)
        .with_for_update(skip_locked=True)
    )
    overdue = Image.created_at <= moment(-deadline_s) if math.isfinite(deadline_s) else false()
    statement = (
        update(Image)
        .where(Image.id.in_(free))
        .values(
            lease_owner=owner,
            lease_until=moment(lease_s),
            attempts=Image.attempts + 1,
            losses=Image.losses + case((Image.lease_owner.is_not(None), 1), else_=0),
            sends=0,
        )
        .returning(
            *(Image.id, Image.account_id, Image.url, Image.policy, Image.attempts, Image.losses, overdue),
            *(moment(), Image.created_at, Image.changed_at),
        )
        .execution_options(synchronize_session=False)
    )
    return [_job(tuple(row)) for row in session.execute(statement)]


def _job(row: tuple[Any, ...]) -> LeasedImage:
    image_id, account_id, url, policy, attempts, losses, overdue, now, created_at, changed_at = row
    age_s, waited_s = (max(0.0, (now - then).total_seconds()) for then in (created_at, changed_at))
    return LeasedImage(image_id, account_id, url, policy, attempts, losses, bool(overdue), age_s, waited_s)


def record_failures(session: Session, failures: Sequence[Failure], owner: str) -> None:
    """End the leases of images that were not scored, each with its reason: for another attempt, or for good.

    Only where ``owner`` still holds the lease: once another worker holds it, that worker decides.
    """
    if not failures:
        return
    columns = [column("id", String), column("reason", String), column("detail", Text), column("retry_s", Float)]
    rows = given(session, [*columns, column("state", String)], [_row(failure) for failure in failures])
    pause = moment(rows.c.retry_s)
    statement = (
        update(Image)
        .where(Image.id == rows.c.id, *_held_by(owner))
        .values(
            state=rows.c.state,
            reason=rows.c.reason,
            detail=rows.c.detail,
            next_attempt_at=pause,
            lease_owner=None,
            lease_until=pause,  # otherwise a second message would skip the pause
            changed_at=moment(),
        )
    )
    session.connection().execute(statement)


def renew_leases(session: Session, ids: Collection[str], owner: str, lease_s: float) -> None:
    """Extend the leases that this owner still holds."""
    ours = select(Image.id).where(Image.id.in_(ids), *_held_by(owner)).order_by(Image.id)
    statement = update(Image).where(Image.id.in_(ours.with_for_update(skip_locked=True)))
    session.execute(statement.values(lease_until=moment(lease_s)).execution_options(synchronize_session=False))


def release_leases(
    session: Session, ids: Collection[str], owner: str, *, lost: bool = False, pause_s: float = 0.0
) -> None:
    """End leases that ``owner`` could not finish, so that another worker can take the images, after ``pause_s``.

    The attempt does not count; ``lost``: it counts as a loss, as if the worker had died of one of them.
    """
    pause = moment(pause_s) if pause_s else None
    statement = (
        update(Image)
        .where(Image.id.in_(ids), *_held_by(owner))
        .values(
            attempts=Image.attempts - (0 if lost else 1),
            losses=Image.losses + (1 if lost else 0),
            next_attempt_at=moment(pause_s),
            lease_owner=None,
            lease_until=pause,  # otherwise a second message would skip the pause
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)


def count_images(session: Session) -> dict[str, int]:
    """How many images are in each state."""
    found = dict(session.execute(select(Image.state, func.count()).group_by(Image.state)).all())
    return {state: found.get(state, 0) for state in IMAGE_STATES}


def count_by_lane(session: Session) -> dict[str, int]:
    """The number of images in each lane that wait: they are pending, and no worker has them in hand."""
    leased = Image.lease_owner.is_not(None) & func.coalesce(Image.lease_until > moment(), False)
    statement = select(Image.lane, func.count()).where(Image.state == "pending", ~leased).group_by(Image.lane)
    found = dict(session.execute(statement).all())
    return {lane: found.get(lane, 0) for lane in LANES}


def count_leases(session: Session) -> dict[str, int]:
    """How many images each worker has leased."""
    statement = (
        select(Image.lease_owner, func.count())
        .where(Image.state == "pending", Image.lease_owner.is_not(None), Image.lease_until > moment())
        .group_by(Image.lease_owner)
        .order_by(Image.lease_owner)
    )
    return {owner: count for owner, count in session.execute(statement) if owner is not None}


def oldest_pending(session: Session) -> datetime | None:
    """When the oldest pending image was added; None when none is pending."""
    return session.scalar(select(func.min(Image.created_at)).where(Image.state == "pending"))


def not_leased() -> ColumnElement[bool]:
    """Whether an image may be leased: nobody holds it or its worker was lost, and no pause is left."""
    return or_(Image.lease_until.is_(None), Image.lease_until <= moment())


def _held_by(owner: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _is_pending(), Image.lease_owner == owner


def _is_pending() -> ColumnElement[bool]:
    """Whether images are pending, written so that PostgreSQL looks them up by id and not by the index of due images.

    With statistics from before a backfill it would read every pending image for each lease: with 100,000 of them that
    takes 80 ms, by id 10.
    """
    return Image.state.concat("") == "pending"


def _row(failure: Failure) -> tuple[str, str, str, float, str]:
    return failure.image_id, failure.reason, failure.detail, failure.retry_s or 0.0, failure.state


def _by_id(images: Sequence[NewImage]) -> dict[str, NewImage]:
    found: dict[str, NewImage] = {}
    for image in images:
        _check_same(found.setdefault(image.id, image), image)
    return found


def _check_known(session: Session, given: dict[str, NewImage], options: dict[str, Any]) -> None:
    columns = (Image.id, Image.account_id, Image.url, Image.policy)
    known = select(*columns).where(Image.id.in_(given)).execution_options(**options)
    for row in session.execute(known) if given else ():
        if row.account_id is not None and row.url is not None:  # an erased account stays erased
            _check_same(NewImage(row.id, row.account_id, row.url, row.policy), given[row.id])


def _check_same(known: NewImage, image: NewImage) -> None:
    """The same image twice is one image; another image under a known id is a mistake to report."""
    for name in ("account_id", "url", "policy"):
        if getattr(known, name) != getattr(image, name):
            raise ConflictError(f"image {image.id!r} is known with another {name}: an id stands for one photo")
