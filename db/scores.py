"""Scores, and the flags that they raise: recorded together, in the caller's transaction, once each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnClause, Integer, String, column, select, update
from sqlalchemy.orm import Session

from db.cases import Flagged, raise_flags
from db.clock import moment
from db.insert import given, insert
from db.schema import Image, Score
from db.thresholds import Standing, standing


@dataclass(frozen=True, slots=True)
class Scored:
    """An image's score, and the file that it was read from: its digest, and its size in bytes and pixels."""

    image_id: str
    policy: str
    score: float
    sha256: str
    bytes: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a score: the model version, the engine that ran it and the device that it ran on."""

    version_id: int
    engine: str
    device: str


def record(session: Session, scored: Sequence[Scored], made_by: Provenance) -> list[str]:
    """Write a batch of scores and the flags that they raise; returns the ids that had no score of this version yet.

    Idempotent by (image, version): a second score of an image changes nothing and raises nothing.
    """
    ordered = sorted(scored, key=lambda item: item.image_id)  # one order for all workers: no deadlocks
    if not ordered:
        return []
    score_ids = _insert(session, ordered, made_by)
    _mark_scored(session, ordered)
    new = [item for item in ordered if item.image_id in score_ids]
    raise_flags(session, _flagged(new, score_ids, standing(session, made_by.version_id)))
    return [item.image_id for item in new]


def _insert(session: Session, scored: Sequence[Scored], made_by: Provenance) -> dict[str, int]:
    """``{image id: score id}`` of the scores that are new."""
    statement = (
        insert(session, Score)
        .values(
            [
                {
                    "image_id": item.image_id,
                    "version_id": made_by.version_id,
                    "score": item.score,
                    "engine": made_by.engine,
                    "device": made_by.device,
                }
                for item in scored
            ]
        )
        .on_conflict_do_nothing(index_elements=["image_id", "version_id"])
        .returning(Score.image_id, Score.id)
    )
    return dict(session.execute(statement).all())


def _mark_scored(session: Session, scored: Sequence[Scored]) -> None:
    columns: list[ColumnClause[Any]] = [column("id", String), column("sha256", String)]
    columns += [column(name, Integer) for name in ("bytes", "width", "height")]
    rows = given(columns, [(item.image_id, item.sha256, item.bytes, item.width, item.height) for item in scored])
    statement = (
        update(Image)
        .where(Image.id == rows.c.id, Image.state != "scored")
        .values(
            state="scored",
            reason=None,
            detail=None,
            lease_owner=None,
            lease_until=None,
            changed_at=moment(),
            sha256=rows.c.sha256,
            bytes=rows.c.bytes,
            width=rows.c.width,
            height=rows.c.height,
        )
    )
    session.connection().execute(statement)


def _flagged(scored: Sequence[Scored], score_ids: dict[str, int], thresholds: dict[str, Standing]) -> list[Flagged]:
    flagged = []
    for item in scored:
        threshold = thresholds.get(item.policy) or thresholds.get("default")
        if threshold is not None and item.score >= threshold.value:
            flagged.append(Flagged(item.image_id, score_ids[item.image_id], threshold.id))
    return flagged


def scores_of(session: Session, image_id: str) -> list[Score]:
    """Every score of an image, the latest first."""
    return list(session.scalars(select(Score).where(Score.image_id == image_id).order_by(Score.id.desc())))
