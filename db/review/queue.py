"""Who looks at which case: the next one for a reviewer, kept for them for a while, and how many wait."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.review.cases import Order
from db.schema.clock import moment
from db.errors import ConflictError, HeldError, NotFoundError
from db.work.images import check_id
from db.schema import Case
from db.review.standing import check_second, had_their_say


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits: open cases, those that somebody looks at, those that wait for a second person, and the oldest."""

    open: int
    held: int
    unsure: int
    oldest_s: float | None
    by_policy: dict[str, int]


def next_case(
    session: Session,
    reviewer: str,
    *,
    policy: str | None = None,
    order: Order = "age",
    lease_s: float,
    but: Collection[int] = (),
) -> int | None:
    """The case that this person should look at next, kept for them for ``lease_s``; None when there is none.

    One that they have already comes first, unless ``but`` names it: whoever asks again loses nothing. No two people
    are given the same, and nobody one that they have decided about.
    """
    check_id("reviewer", reviewer)
    mine = _waiting(policy, but).where(Case.held_by == reviewer, Case.held_until > moment())
    free = _waiting(policy, but).where(_free(), ~had_their_say(reviewer))
    case_id: int | None = session.scalar(_first(mine, order)) or session.scalar(_first(free, order))
    if case_id is not None:
        _keep(session, case_id, reviewer, lease_s)
    return case_id


def hold(session: Session, case_id: int, reviewer: str, lease_s: float) -> None:
    """Keep a case for a person, or for longer. Raises `HeldError` naming who has it and until when."""
    case = session.scalar(select(Case).where(Case.id == case_id).with_for_update())
    if case is None:
        raise NotFoundError(f"case {case_id} is not in the record")
    if case.state != "open":
        raise ConflictError(f"case {case_id} is {case.state}: only an open one can be kept")
    check_free(session, case, check_id("reviewer", reviewer))
    check_second(session, case_id, reviewer)
    _keep(session, case_id, reviewer, lease_s)


def release(session: Session, case_id: int, reviewer: str) -> bool:
    """Let others have it, if this person has it; whether they had."""
    given_up = update(Case).where(Case.id == case_id, Case.held_by == reviewer).returning(Case.id)
    given_up = given_up.values(held_by=None, held_until=None).execution_options(synchronize_session=False)
    return session.scalar(given_up) is not None


def check_free(session: Session, case: Case, reviewer: str) -> None:
    """Raises `HeldError` while somebody else looks at a case."""
    held = select(Case.held_by, Case.held_until).where(Case.id == case.id, Case.held_by != reviewer)
    found = session.execute(held.where(Case.held_until > moment())).one_or_none()
    if found is not None:
        raise HeldError(f"case {case.id} is with {found.held_by} until {found.held_until:%F %T} UTC")


def backlog(session: Session) -> Backlog:
    """How much waits, at a glance."""
    counts = select(Case.policy, func.count()).where(Case.state == "open").group_by(Case.policy)
    by_policy: dict[str, int] = dict(session.execute(counts.order_by(Case.policy)).all())
    held = _count(session, Case.state == "open", Case.held_by.is_not(None), Case.held_until > moment())
    unsure = _count(session, Case.second)  # only open ones are; said just so, or PostgreSQL would not use its index
    oldest = session.execute(select(func.min(Case.created_at), moment()).where(Case.state == "open")).one()
    oldest_s = (oldest[1] - oldest[0]).total_seconds() if oldest[0] is not None else None
    return Backlog(sum(by_policy.values()), held, unsure, oldest_s, by_policy)


def _count(session: Session, *which: ColumnElement[bool] | InstrumentedAttribute[bool]) -> int:
    return session.scalar(select(func.count(Case.id)).where(*which)) or 0


def _waiting(policy: str | None, but: Collection[int]) -> Select[int]:
    statement = select(Case.id).where(Case.state == "open")
    if policy is not None:
        statement = statement.where(Case.policy == policy)
    return statement.where(Case.id.not_in(but)) if but else statement


def _free() -> ColumnElement[bool]:
    return Case.held_by.is_(None) | (Case.held_until <= moment())


def _first(statement: Select[int], order: Order) -> Select[Any]:
    """Of two people who ask at once each gets another."""
    by = (Case.created_at, Case.id) if order == "age" else (Case.highest.desc(), Case.id.desc())
    return statement.order_by(*by).limit(1).with_for_update(skip_locked=True)


def _keep(session: Session, case_id: int, reviewer: str, lease_s: float) -> None:
    kept = update(Case).where(Case.id == case_id).values(held_by=reviewer, held_until=moment(lease_s))
    session.execute(kept.execution_options(synchronize_session=False))
