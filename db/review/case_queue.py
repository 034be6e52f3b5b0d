"""The queue of open cases: which case a reviewer gets next, the lease that keeps it for them, and the backlog."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.errors import ConflictError, HeldError
from db.review.cases import Order, sort_key
from db.review.effective_reviews import describe_state, has_decided, require_second_person
from db.review.restrictions import locked_for
from db.schema import Case
from db.schema.clock import moment
from db.store.ids import check_id

#: Of these cases, those whose scores must stay hidden from whoever asks.
HiddenScores = Callable[[Collection[int]], set[int]]
#: How many of the next cases are looked at when some are hidden, and how often the oldest hidden one is taken.
_AHEAD, _HIDDEN_SHARE = 50, 0.05


@dataclass(frozen=True, slots=True)
class Backlog:
    """Counts of open, held and second-person cases, and the age of the oldest open case."""

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
    excluding: Collection[int] = (),
    hidden: HiddenScores | None = None,
) -> int | None:
    """Lease the next case to this reviewer for ``lease_s`` and return its id, or None when no case is free.

    A case that the reviewer already holds comes first, unless ``excluding`` names it, so asking twice loses nothing.
    No two reviewers get the same case, nobody gets a case that they have decided, and nobody gets a restricted case.
    ``hidden`` says whose scores the reviewer must not learn: a place in an order by value or score would tell them, so
    those come by age, between the others.
    """
    check_id("reviewer", reviewer)
    mine = _open(policy, excluding).where(Case.held_by == reviewer, Case.held_until > moment())
    free = _open(policy, excluding).where(_free(), ~has_decided(reviewer))
    case_id = _first(session, mine, order)
    if case_id is None and order != "age" and hidden is not None:
        case_id = _next_unhinted(session, free, order, hidden)
    elif case_id is None:
        case_id = _first(session, free, order)
    if case_id is not None:
        _lease(session, case_id, reviewer, lease_s)
    return case_id


def acquire_case(session: Session, case_id: int, reviewer: str, lease_s: float) -> None:
    """Lease an open case to a reviewer, or renew their lease.

    Raises `HeldError` (who holds the case, and until when), `SecondPersonError` when this reviewer has decided the
    case, `ConflictError` when it is closed, and `NotFoundError`.
    """
    case = locked_for(session, case_id, reviewer)
    if case.state != "open":
        raise ConflictError(f"case {case_id} is {describe_state(case)}: only an open case can be held")
    require_not_held(session, case, check_id("reviewer", reviewer))
    require_second_person(session, case_id, reviewer)
    _lease(session, case_id, reviewer, lease_s)


def release_case(session: Session, case_id: int, reviewer: str) -> bool:
    """End a reviewer's lease of a case; returns whether they held it."""
    released = update(Case).where(Case.id == case_id, Case.held_by == reviewer).returning(Case.id)
    released = released.values(held_by=None, held_until=None).execution_options(synchronize_session=False)
    return session.scalar(released) is not None


def release_all(session: Session, reviewer: str) -> list[int]:
    """End all of a reviewer's leases, also of cases that were leased ahead; returns the cases."""
    released = update(Case).where(Case.held_by == reviewer).returning(Case.id)
    released = released.values(held_by=None, held_until=None).execution_options(synchronize_session=False)
    return sorted(session.scalars(released))


def require_not_held(session: Session, case: Case, reviewer: str) -> None:
    """Raises `HeldError` while another reviewer holds a case."""
    held = select(Case.held_by, Case.held_until).where(Case.id == case.id, Case.held_by != reviewer)
    found = session.execute(held.where(Case.held_until > moment())).one_or_none()
    if found is not None:
        raise HeldError(f"case {case.id} is held by {found.held_by} until {found.held_until:%F %T} UTC")


def count_backlog(session: Session) -> Backlog:
    """The backlog of open cases."""
    counts = select(Case.policy, func.count()).where(Case.state == "open").group_by(Case.policy)
    by_policy: dict[str, int] = dict(session.execute(counts.order_by(Case.policy)).all())
    held = _count(session, Case.state == "open", Case.held_by.is_not(None), Case.held_until > moment())
    unsure = _count(
        session, Case.second
    )  # implies open; a second condition would keep PostgreSQL from its partial index
    oldest = session.execute(select(func.min(Case.created_at), moment()).where(Case.state == "open")).one()
    oldest_s = (oldest[1] - oldest[0]).total_seconds() if oldest[0] is not None else None
    return Backlog(sum(by_policy.values()), held, unsure, oldest_s, by_policy)


def _count(session: Session, *which: ColumnElement[bool] | InstrumentedAttribute[bool]) -> int:
    return session.scalar(select(func.count(Case.id)).where(*which)) or 0


def _open(policy: str | None, excluding: Collection[int]) -> Select[int]:
    statement = select(Case.id).where(Case.state == "open", Case.restricted.is_(None))
    if policy is not None:
        statement = statement.where(Case.policy == policy)
    return statement.where(Case.id.not_in(excluding)) if excluding else statement


def _free() -> ColumnElement[bool]:
    return Case.held_by.is_(None) | (Case.held_until <= moment())


def _first(session: Session, free: Select[int], order: Order) -> int | None:
    """The first free case. Two reviewers who ask at once get different cases.

    Where every free case is locked it waits: a worker that ranks a new case holds it for a moment, and no reviewer is
    to hear of an empty queue then.
    """
    first = free.order_by(*sort_key(order)).limit(1)
    taken: int | None = session.scalar(first.with_for_update(skip_locked=True))
    if taken is None:
        taken = session.scalar(first.with_for_update())
    return taken


def _next_unhinted(session: Session, free: Select[int], order: Order, hidden: HiddenScores) -> int | None:
    """The first case whose score may be known, or at times the oldest one whose score may not."""
    first, oldest = (session.scalars(free.order_by(*sort_key(each)).limit(_AHEAD)).all() for each in (order, "age"))
    concealed = hidden({*first, *oldest})
    ranks = [[one for one in first if one not in concealed], [one for one in oldest if one in concealed]]
    if random.random() < _HIDDEN_SHARE:  # noqa: S311 - nothing secret
        ranks.reverse()
    for case_id in (*ranks[0], *ranks[1]):
        taken: int | None = session.scalar(free.where(Case.id == case_id).with_for_update(skip_locked=True))
        if taken is not None:
            return taken
    return _first(session, free, "age")


def _lease(session: Session, case_id: int, reviewer: str, lease_s: float) -> None:
    leased = update(Case).where(Case.id == case_id).values(held_by=reviewer, held_until=moment(lease_s))
    session.execute(leased.execution_options(synchronize_session=False))
