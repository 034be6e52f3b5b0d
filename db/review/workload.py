"""What leads look at: how much people decide, day by day and each of them, and how old what waits is."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from db.schema.clock import moment, utc_day
from db.schema import DECISIONS, Case, Review

_DAY_S = 86_400
#: Open cases are counted by age: up to an hour, a day, a week, and older.
AGES = (("under 1 h", 3600), ("under 1 d", _DAY_S), ("under 7 d", 7 * _DAY_S))
OLDER = "older"
#: What is counted; what takes a decision back is none.
KINDS = tuple(kind for kind in DECISIONS if kind != "undone")


@dataclass(frozen=True, slots=True)
class Day:
    """What was decided on a day (UTC), by kind of decision; also what was taken back later."""

    day: date
    decided: dict[str, int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.decided.values())


@dataclass(frozen=True, slots=True)
class Hand:
    """What one person decided, by kind, and how many of these decisions were taken back since, by anybody."""

    reviewer: str
    decided: dict[str, int] = field(default_factory=dict)
    taken_back: int = 0


def days(session: Session, count: int) -> list[Day]:
    """The last ``count`` days, the oldest first; one on which nobody decided is there, too."""
    today: date = session.execute(select(moment())).scalar_one().date()
    day = utc_day(Review.created_at)
    statement = select(day, Review.decision, func.count()).where(*_lately(count))
    found = {today - timedelta(days=back): _none() for back in reversed(range(count))}
    for when, decision, number in session.execute(statement.group_by(day, Review.decision)):
        if when in found:  # the window begins in the middle of the day before the first
            found[when][decision] = number
    return [Day(when, decided) for when, decided in found.items()]


def hands(session: Session, count: int) -> list[Hand]:
    """Who decided in the last ``count`` times 24 hours, whoever decided most first."""
    undone = select(Review.undoes).where(Review.undoes.is_not(None))
    back = func.sum(case((Review.id.in_(undone), 1), else_=0))
    statement = select(Review.reviewer, Review.decision, func.count(), back)
    statement = statement.where(*_lately(count))
    found: dict[str, Hand] = {}
    for reviewer, decision, number, taken in session.execute(statement.group_by(Review.reviewer, Review.decision)):
        before = found.get(reviewer, Hand(reviewer, _none()))
        found[reviewer] = Hand(reviewer, before.decided | {decision: number}, before.taken_back + taken)
    return sorted(found.values(), key=lambda hand: (-sum(hand.decided.values()), hand.reviewer))


def ages(session: Session) -> dict[str, int]:
    """How many open cases are so old."""
    band = case(*[(Case.created_at > moment(-limit), name) for name, limit in AGES], else_=OLDER)
    statement = select(band, func.count()).where(Case.state == "open").group_by(band)
    counts: dict[str, int] = dict(session.execute(statement).all())
    return {name: counts.get(name, 0) for name in (*(name for name, _ in AGES), OLDER)}


def _lately(count: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Review.decision != "undone", Review.created_at >= moment(-count * _DAY_S)


def _none() -> dict[str, int]:
    return dict.fromkeys(KINDS, 0)
