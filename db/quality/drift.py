"""Drift: each day's distribution of scores and flagged share, compared with those of a reference week.

SQL counts scores into bins in one pass. Photos of a policy without a threshold of its own count under "default", whose
threshold flags them.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Select, case, cast, func, literal, null, or_, select, text
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import thresholds
from db.policy.coverage import DEFAULT
from db.schema import Image, ModelVersion, Score
from db.schema.clock import moment, utc_day
from db.stats.drift_statistics import Distance, distance

REFERENCE_DAYS = 7
#: Bins per unit of score: many at both ends, where most scores and thresholds are.
_FINE, _COARSE = 100_000, 1_000
_LOW, _HIGH = 0.01, 0.99


@dataclass(frozen=True, slots=True)
class DayRange:
    """From one day to another, both included, in UTC."""

    first: date
    last: date

    def holds(self) -> ColumnElement[bool]:
        """Whether a score was made on one of these days."""
        after = self.last + timedelta(days=1)
        return (Score.created_at >= _midnight(self.first)) & (Score.created_at < _midnight(after))


@dataclass(slots=True)
class ScoreCounts:
    """How many scores there are in each bin, and how many are at or above the threshold in effect."""

    bins: Counter[int] = field(default_factory=Counter)
    flagged: int = 0

    @property
    def count(self) -> int:
        """How many scores there are in all."""
        return self.bins.total()

    @property
    def flagged_share(self) -> float:
        """The share at or above the threshold; 0 where there is no score."""
        return self.flagged / self.count if self.count else 0.0


@dataclass(frozen=True, slots=True)
class DailyDrift:
    """A policy's scores of one day, and their distance from the reference."""

    day: date
    policy: str
    found: ScoreCounts
    reference: ScoreCounts
    distance: Distance


def daily_drift(
    session: Session, version: ModelVersion, reference: DayRange, days: DayRange, policy: str | None = None
) -> list[DailyDrift]:
    """Each day's drift, the latest first, without days that have no score. ``policy``: only that policy's photos."""
    counted = _count(session, _statement(session, version, or_(reference.holds(), days.holds()), policy))
    policies = sorted({name for _, name in counted})
    before = {name: _sum(counted, name, reference) for name in policies}
    lines = [
        DailyDrift(day, name, found, before[name], distance(before[name].bins, found.bins))
        for (day, name), found in counted.items()
        if days.first <= day <= days.last
    ]
    return sorted(lines, key=lambda line: (-line.day.toordinal(), line.policy))


def drift_yesterday(session: Session) -> list[DailyDrift]:
    """The active model's drift on the last whole day, against its first week; empty when either has no score."""
    version = versions.find_active(session)
    reference = first_week(session, version) if version is not None else None
    if version is None or reference is None:
        return []
    day = session.execute(select(moment())).scalar_one().date() - timedelta(days=1)
    return daily_drift(session, version, reference, DayRange(day, day))


def first_week(session: Session, version: ModelVersion) -> DayRange | None:
    """The first `REFERENCE_DAYS` days from a version's first score on; None when it has none."""
    statement = select(Score.created_at).where(Score.version_id == version.id).order_by(Score.id).limit(1)
    first = session.scalar(statement)
    if first is None:
        return None
    return DayRange(first.date(), first.date() + timedelta(days=REFERENCE_DAYS - 1))


def _statement(session: Session, version: ModelVersion, when: ColumnElement[bool], policy: str | None) -> Select[Any]:
    """(day, policy, bin, scores, flagged); joins images only where their policy makes a difference."""
    values = {row.policy: row.value for row in thresholds.in_effect(session, version.id)}
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
    return grouped.group_by(text("1"), text("2"), text("3"))  # by position: a value named again is a new parameter


def _bin() -> ColumnElement[int]:
    middle, high = _LOW * _FINE, _LOW * _FINE + (_HIGH - _LOW) * _COARSE
    number = case(
        (Score.score < _LOW, Score.score * _FINE),
        (Score.score < _HIGH, middle + (Score.score - _LOW) * _COARSE),
        else_=high + (Score.score - _HIGH) * _FINE,
    )
    return cast(func.round(number), Integer)


def _count(session: Session, statement: Select[Any]) -> dict[tuple[date, str], ScoreCounts]:
    found: dict[tuple[date, str], ScoreCounts] = {}
    for day, policy, number, count, flagged in session.execute(statement):
        scores = found.setdefault((day, policy), ScoreCounts())
        scores.bins[number] += count
        scores.flagged += flagged
    return found


def _sum(counted: dict[tuple[date, str], ScoreCounts], policy: str, days: DayRange) -> ScoreCounts:
    total = ScoreCounts()
    for (day, name), scores in counted.items():
        if name == policy and days.first <= day <= days.last:
            total.bins.update(scores.bins)
            total.flagged += scores.flagged
    return total


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
