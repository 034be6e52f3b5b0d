"""Target times: within how long a policy's cases should be decided, and which cases are about to miss that."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, false, func, or_, select
from sqlalchemy.orm import Session

from db.errors import DbError, NotFoundError
from db.schema import Appeal, Case, Policy
from db.schema.clock import moment

#: The last part of a target time, in which a case counts as due soon.
SOON = 0.2
_LONGEST_S = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Due:
    """When a case should be decided, and whether that is "soon" or over ("late")."""

    at: datetime
    state: str


@dataclass(frozen=True, slots=True)
class DueCounts:
    """A policy's open cases that are due soon, and those that are late."""

    soon: int
    late: int


def set_target(session: Session, policy: str, target_s: float | None) -> Policy:
    """Set a policy's target time, or none; raises `NotFoundError`, and `DbError` for a time out of range."""
    row = session.get(Policy, policy)
    if row is None:
        raise NotFoundError(f"policy {policy!r} is unknown: add it with `unmask policy add`")
    if target_s is not None and not 0 < target_s <= _LONGEST_S:
        raise DbError(f"a target of {target_s:g} s is not between 0 and {_LONGEST_S:g} s, a year")
    row.target_s = target_s
    return row


def targets(session: Session) -> dict[str, float]:
    """``{policy: target in seconds}`` of the policies that have one."""
    found = select(Policy.name, Policy.target_s).where(Policy.target_s.is_not(None))
    return {name: target_s for name, target_s in session.execute(found) if target_s is not None}


def waiting_since(session: Session, cases: Collection[Case]) -> dict[int, datetime]:
    """Since when each case waits: its last appeal, or when it was opened."""
    appealed = appealed_at(session, [case.id for case in cases])
    return {case.id: appealed.get(case.id, case.created_at) for case in cases}


def appealed_at(session: Session, case_ids: Collection[int]) -> dict[int, datetime]:
    """When each of these cases was last appealed, of those that were."""
    last = select(Appeal.case_id, func.max(Appeal.id)).where(Appeal.case_id.in_(case_ids)).group_by(Appeal.case_id)
    ids = [found for _, found in session.execute(last)]
    rows = select(Appeal.case_id, Appeal.created_at).where(Appeal.id.in_(ids))
    return dict(session.execute(rows).all())


def due(since: datetime, target_s: float | None, now: datetime) -> Due | None:
    """When a case is due that waits since then; None without a target."""
    if target_s is None:
        return None
    at = since + timedelta(seconds=target_s)
    left_s = (at - now).total_seconds()
    return Due(at, "late" if left_s <= 0 else "soon" if left_s <= SOON * target_s else "later")


def dues(session: Session, cases: Collection[Case]) -> dict[int, Due]:
    """When each of these open cases is due, of those whose policy has a target."""
    now, known = session.execute(select(moment())).scalar_one(), targets(session)
    opened = [case for case in cases if case.state == "open" and case.policy in known]
    since = waiting_since(session, opened)
    found = {case.id: due(since[case.id], known[case.policy], now) for case in opened}
    return {case_id: one for case_id, one in found.items() if one is not None}


def count_due(session: Session) -> dict[str, DueCounts]:
    """How many open cases of each policy with a target are due soon, and late."""
    known = targets(session)
    return {
        policy: DueCounts(
            _count(session, waits_longer({policy: (1 - SOON) * target_s}) & ~waits_longer({policy: target_s})),
            _count(session, waits_longer({policy: target_s})),
        )
        for policy, target_s in known.items()
    }


def waits_longer(limits: dict[str, float]) -> ColumnElement[bool]:
    """SQL condition on `Case`: it is open and has waited for longer than its policy's number of seconds.

    A case that was appealed waits since its last appeal.
    """
    appealed = select(func.max(Appeal.created_at)).where(Appeal.case_id == Case.id).correlate(Case).scalar_subquery()
    conditions = [
        and_(
            Case.policy == policy,
            Case.created_at <= moment(-seconds),  # the index narrows by this: an appeal is never older than its case
            func.coalesce(appealed, Case.created_at) <= moment(-seconds),
        )
        for policy, seconds in sorted(limits.items())
    ]
    return and_(Case.state == "open", or_(*conditions) if conditions else false())


def _count(session: Session, which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count(Case.id)).where(which)) or 0
