"""Whether photos still score as they did: each day's scores and flagged share beside those of a reference week.

Scores are counted into bins in SQL, in one pass. A policy without a threshold of its own is part of "default", which
flags it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Select, case, cast, func, literal, null, or_, select, text
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import thresholds
from db.schema.clock import moment, utc_day
from db.stats.divergence import Distance, distance
from db.policy.rules import DEFAULT
from db.schema import Image, ModelVersion, Score

REFERENCE_DAYS = 7
#: Bins a unit of score: many at both ends, where scores crowd and thresholds lie.
_FINE, _COARSE = 100_000, 1_000
_LOW, _HIGH = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class Days:
    """From one day to another, both included; UTC."""

    first: date
    last: date

    def holds(self) -> ColumnElement[bool]:
        """Whether a score was made on one of them."""
        after = self.last + timedelta(days=1)
        return (Score.created_at >= _midnight(self.first)) & (Score.created_at < _midnight(after))


@dataclass(slots=True)
class Scores:
    """How many scores there are by bin, and how many of them were at or above the threshold that stands."""

    bins: Counter[int] = field(default_factory=Counter)
    flagged: int = 0

    @property
    def count(self) -> int:
        """All."""
        return self.bins.total()

    @property
    def flagged_share(self) -> float:
        """0 where there is none."""
        return self.flagged / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class DayLine:
    """A policy's day beside its reference."""

    day: date
    policy: str
    found: Scores
    reference: Scores
    distance: Distance


def drift(
    session: Session, version: ModelVersion, reference: Days, days: Days, policy: str | None = None
) -> list[DayLine]:
    """Each day's line, the latest first; days without a score have none. ``policy``: that one's photos only."""
    counted = _count(session, _statement(session, version, or_(reference.holds(), days.holds()), policy))
    policies = sorted({name for _, name in counted})
    before = {name: _sum(counted, name, reference) for name in policies}
    lines = [
        DayLine(day, name, found, before[name], distance(before[name].bins, found.bins))
        for (day, name), found in counted.items()
        if days.first <= day <= days.last
    ]
    return sorted(lines, key=lambda line: (-line.day.toordinal(), line.policy))


def yesterday(session: Session) -> list[DayLine]:
    """The last whole day's lines for the active model, beside its first week; empty where there is nothing."""
    version = versions.find_active(session)
    reference = first_week(session, version) if version is not None else None
    if version is None or reference is None:
        return []
    day = session.execute(select(moment())).scalar_one().date() - timedelta(days=1)
    return drift(session, version, reference, Days(day, day))


def first_week(session: Session, version: ModelVersion) -> Days | None:
    """The first days on which a version scored; None when it has not."""
    statement = select(Score.created_at).where(Score.version_id == version.id).order_by(Score.id).limit(1)
    first = session.scalar(statement)
    if first is None:
        return None
    return Days(first.date(), first.date() + timedelta(days=REFERENCE_DAYS - 1))


def _statement(session: Session, version: ModelVersion, when: ColumnElement[bool], policy: str | None) -> Select[Any]:
    """(day, policy, bin, scores, flagged). Images are joined only where their policy makes a difference."""
    values = {name: row.value for name, row in thresholds.standing(session, version.id).items()}
    named = sorted(set(values) - {DEFAULT})
    statement = select().select_from(Score).where(Score.version_id == version.id, when)
    label: ColumnElement[str] = literal(policy or DEFAULT)
    value: ColumnElement[Any] = literal(values.get(policy or DEFAULT, values.get(DEFAULT)), Float)
    if policy is not None or named:
        statement = statement.join(Image, Image.id == Score.image_id)
    if policy is not None:
        statement = statement.where(Image.policy == policy)
    elif named:
        label = case(*[(Image.policy == name, literal(name)) for name in named], else_=literal(DEFAULT))
        value = case(*[(Image.policy == name, values[name]) for name in named], else_=values.get(DEFAULT, null()))
    flagged = func.sum(case((Score.score >= value, 1), else_=0))
    grouped = statement.add_columns(utc_day(Score.created_at), label, _bin(), func.count(), flagged)
    return grouped.group_by(text("1"), text("2"), text("3"))  # by place: a bound value is another each time it is named


def _bin() -> ColumnElement[int]:
    middle, high = _LOW * _FINE, _LOW * _FINE + (_HIGH - _LOW) * _COARSE
    number = case(
        (Score.score < _LOW, Score.score * _FINE),
        (Score.score < _HIGH, middle + (Score.score - _LOW) * _COARSE),
        else_=high + (Score.score - _HIGH) * _FINE,
    )
    return cast(func.round(number), Integer)


def _count(session: Session, statement: Select[Any]) -> dict[tuple[date, str], Scores]:
    found: dict[tuple[date, str], Scores] = {}
    for day, policy, number, count, flagged in session.execute(statement):
        scores = found.setdefault((day, policy), Scores())
        scores.bins[number] += count
        scores.flagged += flagged
    return found


def _sum(counted: dict[tuple[date, str], Scores], policy: str, days: Days) -> Scores:
    chosen: Iterable[Scores] = (
        scores for (day, name), scores in counted.items() if name == policy and days.first <= day <= days.last
    )
    total = Scores()
    for scores in chosen:
        total.bins.update(scores.bins)
        total.flagged += scores.flagged
    return total


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
