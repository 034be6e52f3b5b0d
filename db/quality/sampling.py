"""Stratified random samples of scored photos: flagged, just below the threshold, and all the rest.

Each draw covers one policy and at most one week, Monday to Monday in UTC, so that rates are known by week and policy.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.models import versions
from db.policy.effective_policy import effective_policy
from db.schema import STRATA, Draw, Image, ModelVersion, Sample, Score
from db.schema.clock import moment
from db.store.ids import check_id

#: "Just below" is the highest-scoring twentieth of the photos that are not flagged.
_BELOW = 20
_WEEK = timedelta(days=7)
#: SQLite compares times as text: its own, to the millisecond, sort before the same time written by Python.
_TICK = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many photos to draw from each stratum, at most."""

    flagged: int = 50
    below: int = 50
    unflagged: int = 100


SIZES = Sizes()


@dataclass(frozen=True, slots=True)
class _Frame:
    """The sampling frame: photos of a policy added within a window, as the active version scored them."""

    version_id: int
    policy: str
    since: datetime
    until: datetime

    def photos(self, low: float = 0.0, high: float | None = None) -> Select[int, str, float]:
        """(score's id, image, score) in a range of scores, without erased accounts, whose photos cannot be shown."""
        statement = (
            select(Score.id, Image.id, Score.score)
            .join(Image, Image.id == Score.image_id)
            .where(Score.version_id == self.version_id, Score.score >= low)
            .where(Image.policy == self.policy, Image.created_at >= self.since, Image.created_at < self.until)
            .where(Image.url.is_not(None))
        )
        return statement if high is None else statement.where(Score.score < high)


def draw_strata(session: Session, sizes: Sizes, author: str, days: float = 7) -> list[Draw]:
    """Draw by policy and week from photos added since the last draw, at most ``days`` ago; returns the draws.

    Only up to the oldest photo that still waits for its score, so that a later draw misses none. Policies without a
    threshold flag nothing, and are not sampled. Raises `NotFoundError` when no version is active, and `IdError` for an
    author that is no id.
    """
    check_id("author", author)
    version = versions.active(session)
    # One draw at a time; workers, whose scores refer to the version, need not wait.
    session.execute(select(ModelVersion.id).where(ModelVersion.id == version.id).with_for_update(key_share=True))
    drawn, samples = [], []
    for frame in _frames(session, version.id, days):
        if _count(session, frame.photos()) == 0:
            continue
        for row, photos in _strata(session, frame, sizes, author):
            session.add(row)
            session.flush()
            drawn.append(row)
            chance = row.drawn / row.population if row.population else 0.0
            samples += [
                Sample(draw_id=row.id, image_id=image_id, score_id=score_id, probability=chance)
                for score_id, image_id, _ in photos
            ]
    random.shuffle(samples)  # reviewers see them in this order, which reveals nothing about the scores
    session.add_all(samples)
    session.flush()
    return drawn


def _frames(session: Session, version_id: int, days: float) -> Iterator[_Frame]:
    earliest, now = session.execute(select(moment(-days * 86_400.0), moment())).one()
    waits = session.scalar(select(func.min(Image.created_at)).where(Image.state == "pending"))
    end = min(now, waits - _TICK) if waits is not None else now
    policies = select(Image.policy).where(Image.created_at >= earliest).distinct().order_by(Image.policy)
    for policy in session.scalars(policies).all():
        last = select(func.max(Draw.until)).where(Draw.policy == policy, Draw.version_id == version_id)
        since = max(earliest, session.scalar(last) or earliest)
        while since < end:
            until = min(end, week_of(since) + _WEEK)
            yield _Frame(version_id, policy, since, until)
            since = until


def week_of(time: datetime) -> datetime:
    """The Monday, 00:00 UTC, on which the week of a time (in UTC) begins."""
    return datetime(time.year, time.month, time.day, tzinfo=time.tzinfo) - timedelta(days=time.weekday())


def _strata(
    session: Session, frame: _Frame, sizes: Sizes, author: str
) -> Iterator[tuple[Draw, list[tuple[int, str, float]]]]:
    threshold = effective_policy(session).threshold(frame.policy)
    if threshold is None:
        return
    low = _just_below(session, frame, threshold.value)
    bounds = ((threshold.value, None), (low, threshold.value), (0.0, low))
    for stratum, (bottom, top) in zip(STRATA, bounds, strict=True):
        population = _count(session, frame.photos(bottom, top))
        chosen = frame.photos(bottom, top).order_by(func.random()).limit(getattr(sizes, stratum))
        photos = [(row[0], row[1], row[2]) for row in session.execute(chosen)]
        row = Draw(
            policy=frame.policy,
            version_id=frame.version_id,
            threshold_id=threshold.id,
            stratum=stratum,
            low=bottom,
            high=1.0 if top is None else top,
            since=frame.since,
            until=frame.until,
            population=population,
            drawn=len(photos),
            author=author,
        )
        yield row, photos


def _just_below(session: Session, frame: _Frame, value: float) -> float:
    """The score from which on an unflagged photo is just below; the threshold itself when there are too few photos."""
    unflagged = frame.photos(high=value)
    count = _count(session, unflagged) // _BELOW
    if count == 0:
        return value
    lowest = unflagged.with_only_columns(Score.score).order_by(Score.score.desc()).offset(count - 1).limit(1)
    return session.execute(lowest).scalar_one()


def _count(session: Session, photos: Select[int, str, float]) -> int:
    return session.scalar(select(func.count()).select_from(photos.subquery())) or 0
