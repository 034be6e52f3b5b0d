"""Counts for transparency reports (Articles 15 and 24 of the DSA), by period."""

from collections import Counter
from dataclasses import dataclass
from statistics import median

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from db.compliance.period import Period
from db.review.cases import UNSTABLE
from db.schema import Appeal, Case, Flag, Review, Score
from db.stats.intervals import Estimate, wilson

_LATEST = 5_000


@dataclass(frozen=True, slots=True)
class TransparencyCounts:
    """What automated means found, what people decided, how long it took, and how often they changed their minds.

    ``photos_unstable`` were put before people and not flagged. ``confirmed_share``: of the sure decisions, the share
    that confirms what the detector flagged.
    """

    period: Period
    photos_scored: int
    photos_flagged: int
    photos_unstable: int
    cases_opened: int
    confirmed: int
    dismissed: int
    unsure: int
    undone: int
    appeals: int
    appeals_reversed: int
    median_hours: float | None
    confirmed_share: Estimate | None


def count_period(session: Session, period: Period) -> TransparencyCounts:
    """Count a period. Decisions that were undone count only as such."""
    found = _standing_decisions(session, period)
    confirmed, dismissed = found["confirmed"], found["dismissed"]
    sure = confirmed + dismissed
    return TransparencyCounts(
        period,
        _count(session, period, Score),
        _count(session, period, Flag, Flag.kind != UNSTABLE),
        _count(session, period, Flag, Flag.kind == UNSTABLE),
        _count(session, period, Case),
        confirmed,
        dismissed,
        found["unsure"],
        found["undone"],
        _count(session, period, Appeal),
        _reversed(session, period),
        _median_hours(session, period),
        wilson(confirmed, sure) if sure else None,
    )


def _standing_decisions(session: Session, period: Period) -> Counter[str]:
    """Decisions of the period by kind, without those that were undone: these are few, and an index finds them."""
    decided = select(Review.decision, func.count()).group_by(Review.decision)
    decided = decided.where(Review.created_at >= period.start, Review.created_at < period.end)
    undone = decided.where(Review.id.in_(select(Review.undoes).where(Review.undoes.is_not(None))))
    all_of_them, taken_back = (Counter(dict(session.execute(each).all())) for each in (decided, undone))
    return all_of_them - taken_back


def _count(
    session: Session, period: Period, table: type[Score | Flag | Case | Appeal], *which: ColumnElement[bool]
) -> int:
    within = (table.created_at >= period.start) & (table.created_at < period.end)
    return session.scalar(select(func.count(table.id)).where(within, *which)) or 0


def _reversed(session: Session, period: Period) -> int:
    """Appeals of the period after which people decided otherwise."""
    against = aliased(Review)
    statement = (
        select(func.count(Appeal.id))
        .join(against, against.id == Appeal.review_id)
        .join(Case, Case.id == Appeal.case_id)
        .where(Appeal.created_at >= period.start, Appeal.created_at < period.end)
        .where(Case.state.in_(("confirmed", "dismissed")), Case.state != against.decision)
    )
    return session.scalar(statement) or 0


def _median_hours(session: Session, period: Period) -> float | None:
    """From the opening of a case to each sure decision about it: the median of the period's latest 5,000."""
    statement = select(Case.created_at, Review.created_at).join(Review, Review.case_id == Case.id)
    statement = statement.where(Review.created_at >= period.start, Review.created_at < period.end)
    sure = statement.where(Review.decision.in_(("confirmed", "dismissed")))
    rows = session.execute(sure.order_by(Review.created_at.desc(), Review.id.desc()).limit(_LATEST))
    hours = [(decided - opened).total_seconds() / 3600 for opened, decided in rows]
    return median(hours) if hours else None
