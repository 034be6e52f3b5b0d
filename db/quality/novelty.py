"""Photos of an engine that nobody knows: clusters among recent projections that are denser than in a reference time.

It compares the last days with the weeks before them, among the photos whose projections workers keep (see
`db.models.projections`). One photo of an account counts in either window, and copies of one photo count once: else one
busy account would be an engine. What grows may also be a new camera or a fashion: people look, and decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import versions
from db.quality.grown_regions import GrownRegion, grown_regions
from db.schema import Case, Flag, Image, ModelVersion, Projection, Score
from db.schema.clock import moment

RECENT_DAYS, REFERENCE_DAYS = 7, 28
#: Photos of a cluster that people are shown: those nearest its centre.
SHOWN = 12
#: Photos that are read of each window; of more, every second, third, ... one.
MOST_READ = 100_000
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class ClusterPhoto:
    """A photo of a cluster, its score, and the case that has it, if it is flagged."""

    image_id: str
    score: float
    case_id: int | None


@dataclass(frozen=True, slots=True)
class NovelCluster:
    """Photos that the detector finds alike, and that have become more frequent.

    ``expected`` of them would be there if they had not. One look finds at most ``chance`` such clusters where nothing
    has changed. ``growth`` is by what factor they are denser at the centre.
    """

    size: int
    expected: float
    growth: float
    chance: float
    mean_score: float
    flagged: int
    photos: tuple[ClusterPhoto, ...]


@dataclass(frozen=True, slots=True)
class NoveltyLook:
    """What one look found, and among how many accounts' photos of either window."""

    model: str
    recent: int
    reference: int
    clusters: tuple[NovelCluster, ...]


def look_for_novelty(
    session: Session, version: ModelVersion, days: int = RECENT_DAYS, reference_days: int = REFERENCE_DAYS
) -> NoveltyLook:
    """Compare the projections of the last ``days`` with those of the ``reference_days`` before."""
    start, first = moment(-days * _DAY_S), moment(-(days + reference_days) * _DAY_S)
    recent = _distinct(_read(session, version, start, moment()))
    earlier = _distinct(_read(session, version, first, start))
    rows = [*recent, *earlier]
    if not recent or not earlier:
        return NoveltyLook(version.name, len(recent), len(earlier), ())
    points = np.frombuffer(b"".join(row.projection for row in rows), np.int8).reshape(len(rows), -1)
    found = grown_regions(points.astype(np.float32), np.arange(len(rows)) < len(recent))
    cases = _cases(session, {rows[place].image_id for region in found for place in region.recent})
    clusters = tuple(_cluster(region, rows, cases) for region in found)
    return NoveltyLook(version.name, len(recent), len(earlier), clusters)


def count_novel_clusters(session: Session) -> int | None:
    """How many clusters the active model's last week has; None where it has no reference time to compare with."""
    version = versions.find_active(session)
    look = look_for_novelty(session, version) if version is not None else None
    return len(look.clusters) if look is not None and look.recent and look.reference else None


@dataclass(frozen=True, slots=True)
class _Kept:
    image_id: str
    account_id: str | None
    projection: bytes
    score: float


def _read(session: Session, version: ModelVersion, since: Any, until: Any) -> list[_Kept]:
    """What is kept of a window, the oldest first; at most about `MOST_READ`, evenly spread."""
    here = (Projection.version_id == version.id) & (Projection.kept_at >= since) & (Projection.kept_at < until)
    count = session.scalar(select(func.count()).select_from(Projection).where(here)) or 0
    statement = (
        select(Projection.image_id, Image.account_id, Projection.projection, Score.score)
        .join(Image, Image.id == Projection.image_id)
        .join(Score, (Score.image_id == Projection.image_id) & (Score.version_id == Projection.version_id))
        .where(here, Projection.id % (1 + count // MOST_READ) == 0)
        .order_by(Projection.id)
    )
    return [_Kept(*row) for row in session.execute(statement)]


def _distinct(rows: Sequence[_Kept]) -> list[_Kept]:
    """The first photo of each account, without copies."""
    accounts = {row.account_id: row for row in reversed(rows)}
    looks = {row.projection: row for row in reversed(list(accounts.values()))}
    return list(looks.values())


def _cases(session: Session, image_ids: set[str]) -> dict[str, int]:
    """The latest case of each of these images that has one."""
    statement = select(Flag.image_id, Case.id).join(Case, Case.id == Flag.case_id).order_by(Case.id)
    found: dict[str, int] = {}
    ids = sorted(image_ids)
    for start in range(0, len(ids), 500):
        found |= dict(session.execute(statement.where(Flag.image_id.in_(ids[start : start + 500]))).all())
    return found


def _cluster(region: GrownRegion, rows: Sequence[_Kept], cases: dict[str, int]) -> NovelCluster:
    photos = [ClusterPhoto(rows[at].image_id, rows[at].score, cases.get(rows[at].image_id)) for at in region.recent]
    return NovelCluster(
        size=len(photos),
        expected=region.expected,
        growth=region.growth,
        chance=region.chance,
        mean_score=sum(photo.score for photo in photos) / len(photos),
        flagged=sum(photo.case_id is not None for photo in photos),
        photos=tuple(photos[:SHOWN]),
    )
