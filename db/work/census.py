"""How many there are of what an operator watches: one reading, quick enough to be taken every few seconds.

Of images only those that wait are read, by the index of those that wait; of cases, which are few, all.
"""

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.work.images import not_in_hand
from db.schema import Case, Image, Review


@dataclass(frozen=True, slots=True)
class Waiting:
    """Images without a score: how many, how many of them workers have in hand, and how many pause between two tries.

    ``oldest_s``: for how long the oldest has waited of those that never failed. ``lag_s``: for how long the image has
    been due that waits longest to be sent.
    """

    pending: int
    leased: int
    pausing: int
    oldest_s: float
    lag_s: float


@dataclass(frozen=True, slots=True)
class OpenCases:
    """A policy's cases that wait for people, and for how long the oldest has."""

    count: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Census:
    """One reading. ``events`` counts what ever happened to the cases that are still in the record."""

    waiting: Waiting
    open_cases: dict[str, OpenCases]
    events: dict[str, int]


def take(session: Session) -> Census:
    """Count now, on the database's clock."""
    return Census(waiting(session), open_cases(session), events(session))


def waiting(session: Session) -> Waiting:
    """Of images: one pass over those that wait."""
    due = case((not_in_hand() & (Image.next_attempt_at <= moment()), Image.next_attempt_at))
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
    return Waiting(*counts, *ages)


def open_cases(session: Session) -> dict[str, OpenCases]:
    """By policy."""
    statement = (
        select(Case.policy, func.count(), func.min(Case.created_at), moment())
        .where(Case.state == "open")
        .group_by(Case.policy)
    )
    return {
        policy: OpenCases(count, max(0.0, (now - oldest).total_seconds()))
        for policy, count, oldest, now in session.execute(statement)
    }


def events(session: Session) -> dict[str, int]:
    """How many cases were opened and withdrawn, and how often people decided which way."""
    states = dict(session.execute(select(Case.state, func.count()).group_by(Case.state)).all())
    decisions = dict(session.execute(select(Review.decision, func.count()).group_by(Review.decision)).all())
    return {"opened": sum(states.values()), "withdrawn": states.get("withdrawn", 0)} | decisions
