"""Random samples of what was scored: so many of what is flagged, so many of what is just below, and of all the rest.

Each is of one policy and of at most one week, Monday to Monday in UTC, so that rates can be told by week and policy.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from db.models import versions
from db.schema.clock import moment
from db.policy.force import in_force
from db.work.images import check_id
from db.schema import STRATA, Draw, Image, ModelVersion, Sample, Score

#: "Just below" is the highest-scoring one in so many of what is not flagged.
_BELOW = 20
_WEEK = timedelta(days=7)
#: SQLite compares times as text, and those that it wrote itself, to the millisecond, come before the same of ours.
_TICK = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many photos are drawn of each stratum, at most."""

    flagged: int = 50
    below: int = 50
    unflagged: int = 100


SIZES = Sizes()


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is drawn from: photos of a policy that came in within a window, as the active version scored them."""

    version_id: int
    policy: str
    since: datetime
    until: datetime

    def photos(self, low: float = 0.0, high: float | None = None) -> Select[int, str, float]:
        """(score's id, image, score) of a range of scores; one whose account was erased cannot be shown."""
        statement = (
            select(Score.id, Image.id, Score.score)
            .join(Image, Image.id == Score.image_id)
            .where(Score.version_id == self.version_id, Score.score >= low)
            .where(Image.policy == self.policy, Image.created_at >= self.since, Image.created_at < self.until)
            .where(Image.url.is_not(None))
        )
        return statement if high is None else statement.where(Score.score < high)


def draw(session: Session, sizes: Sizes, author: str, days: float = 7) -> list[Draw]:
    """Draw from what came in since the last draw, or for so many ``days``, by policy and week; returns what was drawn.

    Up to the oldest photo that still waits for its score, so that none slips by. Policies without a threshold flag
    nothing, and nothing of theirs is drawn.
    """
    check_id("author", author)
    version = versions.active(session)
    # One draw at a time. Workers, who refer to the version, need not wait.
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
    random.shuffle(samples)  # people see them in this order, which tells nothing of the scores
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
    threshold = in_force(session).threshold(frame.policy)
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
    """From which score on what is not flagged is just below; the threshold itself when there is too little."""
    unflagged = frame.photos(high=value)
    count = _count(session, unflagged) // _BELOW
    if count == 0:
        return value
    lowest = unflagged.with_only_columns(Score.score).order_by(Score.score.desc()).offset(count - 1).limit(1)
    return session.execute(lowest).scalar_one()


def _count(session: Session, photos: Select[int, str, float]) -> int:
    return session.scalar(select(func.count()).select_from(photos.subquery())) or 0
