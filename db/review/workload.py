"""The review team's workload, for leads: decisions by day and by reviewer, and open cases by age."""

from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from db.schema import DECISIONS, Case, Review
from db.schema.clock import moment, utc_day

_DAY_S = 86_400
#: Age bands of open cases, each with its upper limit in seconds; what is older is counted as `OLDER`.
AGES = (("under 1 h", 3600), ("under 1 d", _DAY_S), ("under 7 d", 7 * _DAY_S))
OLDER = "older"
#: Kinds of decision that are counted; an undo is not a decision.
KINDS = tuple(kind for kind in DECISIONS if kind != "undone")


@dataclass(frozen=True, slots=True)
class DailyDecisions:
    """Decisions made on a day (UTC), by kind, including those undone later."""

    day: date
    decided: dict[str, int]

    @property
    def total(self) -> int:
        """The number of decisions of all kinds."""
        return sum(self.decided.values())


@dataclass(frozen=True, slots=True)
class ReviewerDecisions:
    """One reviewer's decisions, by kind, and how many of them anybody has undone since."""

    reviewer: str
    decided: dict[str, int] = field(default_factory=dict)
    undone: int = 0


def decisions_by_day(session: Session, count: int) -> list[DailyDecisions]:
    """The last ``count`` days, oldest first, including days without decisions."""
    today: date = session.execute(select(moment())).scalar_one().date()
    day = utc_day(Review.created_at)
    statement = select(day, Review.decision, func.count()).where(*_lately(count))
    found = {today - timedelta(days=back): _none() for back in reversed(range(count))}
    for when, decision, number in session.execute(statement.group_by(day, Review.decision)):
        if when in found:  # the window begins in the middle of the day before the first
            found[when][decision] = number
    return [DailyDecisions(when, decided) for when, decided in found.items()]


def decisions_by_reviewer(session: Session, count: int) -> list[ReviewerDecisions]:
    """Reviewers who decided in the last ``count`` × 24 hours, most decisions first."""
    undoes = select(Review.undoes).where(Review.undoes.is_not(None))
    back = func.sum(case((Review.id.in_(undoes), 1), else_=0))
    statement = select(Review.reviewer, Review.decision, func.count(), back)
    statement = statement.where(*_lately(count))
    found: dict[str, ReviewerDecisions] = {}
    for reviewer, decision, number, undone in session.execute(statement.group_by(Review.reviewer, Review.decision)):
        before = found.get(reviewer, ReviewerDecisions(reviewer, _none()))
        found[reviewer] = ReviewerDecisions(reviewer, before.decided | {decision: number}, before.undone + undone)
    return sorted(found.values(), key=lambda row: (-sum(row.decided.values()), row.reviewer))


def open_cases_by_age(session: Session) -> dict[str, int]:
    """Number of open cases in each age band."""
    band = case(*[(Case.created_at > moment(-limit), name) for name, limit in AGES], else_=OLDER)
    statement = select(band, func.count()).where(Case.state == "open").group_by(band)
    counts: dict[str, int] = dict(session.execute(statement).all())
    return {name: counts.get(name, 0) for name in (*(name for name, _ in AGES), OLDER)}


def _lately(count: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Review.decision != "undone", Review.created_at >= moment(-count * _DAY_S)


def _none() -> dict[str, int]:
    return dict.fromkeys(KINDS, 0)
