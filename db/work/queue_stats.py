"""Counts of waiting images and cases for operators: quick enough to read every few seconds.

Only pending images are read, by their index; cases are few, and all are read.
"""

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from db.schema import Case, Image, Review
from db.schema.clock import moment
from db.schema.images import LANES
from db.work.images import not_leased


@dataclass(frozen=True, slots=True)
class PendingImages:
    """Images without a score: how many, how many of them are leased, and how many pause between two attempts.

    ``oldest_s``: how long the oldest has waited of those that never failed. ``lag_s``: how long the longest due image
    has waited to be sent.
    """

    pending: int
    leased: int
    pausing: int
    oldest_s: float
    lag_s: float


@dataclass(frozen=True, slots=True)
class WaitingLane:
    """A lane's images without a score, and how long the oldest has waited of those that never failed."""

    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class OpenCases:
    """How many of a policy's cases wait for people, and how long the oldest has waited."""

    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One reading. ``case_events`` counts everything that happened to the cases that are still in the record."""

    pending: PendingImages
    lanes: dict[str, WaitingLane]
    open_cases: dict[str, OpenCases]
    case_events: dict[str, int]


def read_queue_stats(session: Session) -> QueueStats:
    """Read all counts now, by the database's clock."""
    return QueueStats(
        count_pending(session), count_lanes(session), count_open_cases(session), count_case_events(session)
    )


def count_pending(session: Session) -> PendingImages:
    """Pending images, counted in one pass."""
    due = case((not_leased() & (Image.next_attempt_at <= moment()), Image.next_attempt_at))
    taken = func.coalesce(Image.lease_until > moment(), False)
    leased, pausing = taken & Image.lease_owner.is_not(None), taken & Image.lease_owner.is_(None)
    statement = select(
        func.count(),
        func.count(case((leased, 1))),
        func.count(case((pausing, 1))),
        func.min(case((Image.reason.is_(None), Image.created_at))),
        func.min(due),
        moment(),
    ).where(Image.state == "pending")
    *counts, oldest, latest, now = session.execute(statement).one()
    ages = [max(0.0, (now - then).total_seconds()) if then is not None else 0.0 for then in (oldest, latest)]
    return PendingImages(*counts, *ages)


def count_lanes(session: Session) -> dict[str, WaitingLane]:
    """Pending images by lane; every lane is there, also without any."""
    statement = (
        select(Image.lane, func.count(), func.min(case((Image.reason.is_(None), Image.created_at))), moment())
        .where(Image.state == "pending")
        .group_by(Image.lane)
    )
    found = {
        lane: WaitingLane(count, max(0.0, (now - oldest).total_seconds()) if oldest is not None else 0.0)
        for lane, count, oldest, now in session.execute(statement)
    }
    return {lane: found.get(lane, WaitingLane(0, 0.0)) for lane in LANES}


def count_open_cases(session: Session) -> dict[str, OpenCases]:
    """Open cases by policy."""
    statement = (
        select(Case.policy, func.count(), func.min(Case.created_at), moment())
        .where(Case.state == "open")
        .group_by(Case.policy)
    )
    return {
        policy: OpenCases(count, max(0.0, (now - oldest).total_seconds()))
        for policy, count, oldest, now in session.execute(statement)
    }


def count_case_events(session: Session) -> dict[str, int]:
    """How many cases were opened and withdrawn, and how often reviewers decided which way."""
    states = dict(session.execute(select(Case.state, func.count()).group_by(Case.state)).all())
    decisions = dict(session.execute(select(Review.decision, func.count()).group_by(Review.decision)).all())
    return {"opened": sum(states.values()), "withdrawn": states.get("withdrawn", 0)} | decisions
