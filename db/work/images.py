"""Images waiting for a score: adding them, taking them in hand, and letting go of them with a reason."""

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, String, Text, case, column, false, func, or_, select, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import ConflictError, IdError
from db.store.insert import given, insert
from db.schema import ID_LENGTH, Image

#: What no database takes, NUL and the halves of characters; and what breaks lines wherever it is shown.
_UNSTORABLE = re.compile("[\\0\\ud800-\\udfff]")
_UNSHOWABLE = re.compile("[\\0-\\x1f\\x7f-\\x9f\\u2028\\u2029]")


@dataclass(frozen=True, slots=True)
class NewImage:
    """A photo as the upload flow knows it."""

    id: str
    account_id: str
    url: str
    policy: str = "default"


@dataclass(frozen=True, slots=True)
class Job:
    """An image in hand: what a worker must know to score it. ``attempts`` counts this one.

    ``losses`` counts the attempts whose worker was never heard of again; ``overdue`` says that the image has been
    waiting for longer than is worth another try. ``age_s`` is since it was added, ``waited_s`` since it was added, last
    tried, or put in line again by a person.
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
        """Attempts that came to an end, this one included: those that count against a limit."""
        return self.attempts - self.losses


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an image in hand was not scored. ``retry_s``: when to try again; None: never.

    ``out_of_domain``: nothing is wrong with it, but the detector is not for such photos.
    """

    image_id: str
    reason: str
    detail: str
    retry_s: float | None = None
    out_of_domain: bool = False

    @property
    def state(self) -> str:
        """What the image is from now on."""
        if self.retry_s is not None:
            return "pending"
        return "not_scorable" if self.out_of_domain else "failed"


def check_id(name: str, value: object) -> str:
    """An id as the schema wants it; raises `IdError` naming it, its limit and its value."""
    if not isinstance(value, str) or not 1 <= len(value) <= ID_LENGTH or _UNSTORABLE.search(value):
        shown = ascii(value) if len(ascii(value)) <= ID_LENGTH else f"{len(str(value))} characters"
        raise IdError(f"{name} must be text of 1 to {ID_LENGTH} characters, without NUL or half characters: {shown}")
    return value


def check_new_id(name: str, value: object) -> str:
    """An id that may be added: also without control characters."""
    checked = check_id(name, value)
    if not showable(checked):
        raise IdError(f"{name} must be without control characters: {checked!a}")
    return checked


def storable(text: str) -> bool:
    """Whether a database takes this text."""
    return not _UNSTORABLE.search(text)


def showable(text: str) -> bool:
    """Whether it is without control characters, such as a line's end."""
    return not _UNSHOWABLE.search(text)


def add(session: Session, images: Sequence[NewImage], resend_s: float) -> list[str]:
    """Add images that are not known yet; returns the ids that were added.

    Their messages are the caller's to send, so the sweeper leaves them alone for ``resend_s``. Raises `ConflictError`
    when an id is known with another account, URL or policy, or is given with two.
    """
    new = _by_id(images)
    if not new:
        return []
    statement = (
        insert(session, Image)
        .values(next_attempt_at=moment(resend_s))
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(Image.id)
    )
    # As parameters: rows within the statement would make it another one each time, 20 times as dear to compile.
    added = set(session.connection().scalars(statement, [asdict(image) for image in new.values()]))
    _check_known(session, {image_id: image for image_id, image in new.items() if image_id not in added})
    return [image_id for image_id in new if image_id in added]


def lease(
    session: Session, ids: Collection[str], owner: str, lease_s: float, deadline_s: float = math.inf
) -> list[Job]:
    """Take these images in hand, those that are pending and in nobody else's; one statement for all.

    An image that still has an owner was lost with it. One that came in ``deadline_s`` ago, or earlier, is overdue.
    """
    free = (
        select(Image.id)
        .where(Image.id.in_(ids), _is_pending(), not_in_hand())
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


def _job(row: tuple[Any, ...]) -> Job:
    image_id, account_id, url, policy, attempts, losses, overdue, now, created_at, changed_at = row
    age_s, waited_s = (max(0.0, (now - then).total_seconds()) for then in (created_at, changed_at))
    return Job(image_id, account_id, url, policy, attempts, losses, bool(overdue), age_s, waited_s)


def put_back(session: Session, failures: Sequence[Failure], owner: str) -> None:
    """Let go of images that were not scored, each with its reason: for another attempt, or for good.

    Only of those that ``owner`` still has in hand: of what another took over meanwhile, that other one decides.
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
            lease_until=pause,  # or a second message would skip the pause
            changed_at=moment(),
        )
    )
    session.connection().execute(statement)


def renew(session: Session, ids: Collection[str], owner: str, lease_s: float) -> None:
    """Keep these images in hand for longer, those that still are in this owner's."""
    ours = select(Image.id).where(Image.id.in_(ids), *_held_by(owner)).order_by(Image.id)
    statement = update(Image).where(Image.id.in_(ours.with_for_update(skip_locked=True)))
    session.execute(statement.values(lease_until=moment(lease_s)).execution_options(synchronize_session=False))


def release(session: Session, ids: Collection[str], owner: str, *, lost: bool = False) -> None:
    """Let go of images that ``owner`` has in hand and could not finish, for another to take at once.

    As if they had never been taken; ``lost``: as if it had died of one of them.
    """
    statement = (
        update(Image)
        .where(Image.id.in_(ids), *_held_by(owner))
        .values(
            attempts=Image.attempts - (0 if lost else 1),
            losses=Image.losses + (1 if lost else 0),
            next_attempt_at=moment(),
            lease_owner=None,
            lease_until=None,
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(statement)


def counts(session: Session) -> dict[str, int]:
    """How many images are in each state."""
    found = dict(session.execute(select(Image.state, func.count()).group_by(Image.state)).all())
    return {state: found.get(state, 0) for state in ("pending", "scored", "failed", "not_scorable")}


def in_hand(session: Session) -> int:
    """How many images workers have in hand."""
    return sum(in_hand_by(session).values())


def in_hand_by(session: Session) -> dict[str, int]:
    """How many images each worker has in hand."""
    statement = (
        select(Image.lease_owner, func.count())
        .where(Image.state == "pending", Image.lease_owner.is_not(None), Image.lease_until > moment())
        .group_by(Image.lease_owner)
        .order_by(Image.lease_owner)
    )
    return {owner: count for owner, count in session.execute(statement) if owner is not None}


def oldest_pending(session: Session) -> datetime | None:
    """When the image was added that has waited longest."""
    return session.scalar(select(func.min(Image.created_at)).where(Image.state == "pending"))


def not_in_hand() -> ColumnElement[bool]:
    """Whether an image may be taken: nobody has it, or whoever had it was lost, and no pause is left."""
    return or_(Image.lease_until.is_(None), Image.lease_until <= moment())


def _held_by(owner: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _is_pending(), Image.lease_owner == owner


def _is_pending() -> ColumnElement[bool]:
    """Of images that are looked up by their ids, and hidden from the index of those that are due.

    With statistics from before a backfill, PostgreSQL would rather read every pending image for each lease: beside
    100,000 that takes 80 ms, and by their ids 10.
    """
    return Image.state.concat("") == "pending"


def _row(failure: Failure) -> tuple[str, str, str, float, str]:
    return failure.image_id, failure.reason, failure.detail, failure.retry_s or 0.0, failure.state


def _by_id(images: Sequence[NewImage]) -> dict[str, NewImage]:
    found: dict[str, NewImage] = {}
    for image in images:
        _check_same(found.setdefault(image.id, image), image)
    return found


def _check_known(session: Session, given: dict[str, NewImage]) -> None:
    known = select(Image.id, Image.account_id, Image.url, Image.policy).where(Image.id.in_(given))
    for row in session.execute(known) if given else ():
        if row.account_id is not None and row.url is not None:  # whose it was is erased, and stays so
            _check_same(NewImage(row.id, row.account_id, row.url, row.policy), given[row.id])


def _check_same(known: NewImage, image: NewImage) -> None:
    """The same image twice is one image; another image under a known id is a mistake that must be heard of."""
    for name in ("account_id", "url", "policy"):
        if getattr(known, name) != getattr(image, name):
            raise ConflictError(f"image {image.id!r} is known with another {name}: an id stands for one photo")
