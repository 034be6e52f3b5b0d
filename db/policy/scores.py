"""Scores, and the flags that they raise: recorded together, in the caller's transaction, once each.

Which version is active is read in that transaction, after its scores are in: see `db.policy.changes` for why nothing that a
change should have seen can slip past it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnClause, Integer, String, column, select, update
from sqlalchemy.orm import Session

from db.review import lookalikes
from db.work import requests
from db.review.cases import Flagged, raise_flags
from db.schema.clock import moment
from db.policy.force import InForce, in_force
from db.store.insert import given, insert
from db.schema import Flag, Image, Score

#: Two hashes, as `db.review.lookalikes.keep` takes them.
Looks = bytes

#: An image that the active version has not scored, since that has just changed, waits so long for a worker with it.
_SWITCH_S = 2.0


@dataclass(frozen=True, slots=True)
class Scored:
    """An image's score, and the file that it was read from: its digest, and its size in bytes and pixels.

    ``beside`` is what the worker's other version said, if it said anything.
    """

    image_id: str
    policy: str
    score: float
    sha256: str
    bytes: int
    width: int
    height: int
    beside: float | None = None
    #: What it looks like (see `db.review.lookalikes`); None where the worker thought that nothing flags it, empty where it
    #: cannot say.
    looks: Looks | None = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a score: the model version, the engine that ran it and the device that it ran on."""

    version_id: int
    engine: str
    device: str


def record(
    session: Session, scored: Sequence[Scored], made_by: Provenance, beside_by: Provenance | None = None
) -> list[str]:
    """Write a batch of scores and the flags that they raise; returns the ids that had no score of this version yet.

    Idempotent by (image, version): a second score of an image changes nothing and raises nothing. Only the version
    that is active now flags, whichever the worker took for it; an image that it has not scored stays pending.
    """
    ordered = sorted(scored, key=lambda item: item.image_id)  # one order for all workers: no deadlocks
    if not ordered:
        return []
    new = _insert(session, ordered, made_by, beside_by)
    now = in_force(session)
    active = _scores_of(ordered, made_by, beside_by, now)
    _mark_scored(session, [item for item in ordered if item.image_id in active])
    _let_go(session, [item.image_id for item in ordered if item.image_id not in active])
    if not now.flagging_paused:
        _keep_looks(session, ordered, raise_flags(session, _flagged(ordered, active, new, now)))
    return [item.image_id for item in ordered if (item.image_id, made_by.version_id) in new]


def record_others(session: Session, scores: dict[str, float], made_by: Provenance) -> int:
    """Write scores of images that another version has scored: they flag nothing by themselves (see `policies.apply`).

    Returns how many were new.
    """
    rows = [_row(image_id, score, made_by) for image_id, score in sorted(scores.items())]
    return len(_insert_rows(session, rows)) if rows else 0


def _insert(
    session: Session, scored: Sequence[Scored], made_by: Provenance, beside_by: Provenance | None
) -> dict[tuple[str, int], int]:
    """``{(image id, version id): score id}`` of the scores that are new."""
    rows = [_row(item.image_id, item.score, made_by) for item in scored]
    if beside_by is not None:
        rows += [_row(item.image_id, item.beside, beside_by) for item in scored if item.beside is not None]
    rows.sort(key=lambda row: row["version_id"])  # the order in which changes lock them
    return _insert_rows(session, rows)


def _row(image_id: str, score: float, made_by: Provenance) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "version_id": made_by.version_id,
        "score": score,
        "engine": made_by.engine,
        "device": made_by.device,
    }


def _insert_rows(session: Session, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], int]:
    statement = (
        insert(session, Score)
        .on_conflict_do_nothing(index_elements=["image_id", "version_id"])
        .returning(Score.image_id, Score.version_id, Score.id)
    )
    return {(row.image_id, row.version_id): row.id for row in session.connection().execute(statement, rows)}


def _scores_of(
    scored: Sequence[Scored], made_by: Provenance, beside_by: Provenance | None, now: InForce
) -> dict[str, float]:
    """What the active version said of each image that it scored."""
    if now.version_id == made_by.version_id:
        return {item.image_id: item.score for item in scored}
    if beside_by is not None and now.version_id == beside_by.version_id:
        return {item.image_id: item.beside for item in scored if item.beside is not None}
    return {}


def _mark_scored(session: Session, scored: Sequence[Scored]) -> None:
    if not scored:
        return
    columns: list[ColumnClause[Any]] = [column("id", String), column("sha256", String)]
    columns += [column(name, Integer) for name in ("bytes", "width", "height")]
    rows = given(
        session, columns, [(item.image_id, item.sha256, item.bytes, item.width, item.height) for item in scored]
    )
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


def _let_go(session: Session, image_ids: Collection[str]) -> None:
    """Back in line, as if they had not been tried; an image that the active version scored before stays scored."""
    if image_ids:
        session.execute(
            update(Image)
            .where(Image.id.in_(image_ids), Image.state == "pending")
            .values(
                attempts=Image.attempts - 1,
                next_attempt_at=moment(_SWITCH_S),
                lease_owner=None,
                lease_until=moment(_SWITCH_S),  # or a second message would skip the pause
            )
            .execution_options(synchronize_session=False)
        )


def _flagged(
    scored: Sequence[Scored], active: dict[str, float], new: dict[tuple[str, int], int], now: InForce
) -> list[Flagged]:
    flagged = []
    for item in scored:
        threshold = now.threshold(item.policy)
        score_id = new.get((item.image_id, now.version_id))
        if threshold is not None and score_id is not None and active[item.image_id] >= threshold.value:
            flagged.append(Flagged(item.image_id, score_id, threshold.id))
    return flagged


def _keep_looks(session: Session, scored: Sequence[Scored], flagged: Collection[str]) -> None:
    found = [item for item in scored if item.image_id in flagged]
    lookalikes.keep(session, {item.image_id: item.looks for item in found if item.looks})
    missing = [item.image_id for item in found if item.looks is None]  # its worker had not heard of the threshold yet
    if missing:
        requests.ask_looks(session, Flag.image_id.in_(missing))


def scores_of(session: Session, image_id: str) -> list[Score]:
    """Every score of an image, the latest first."""
    return list(session.scalars(select(Score).where(Score.image_id == image_id).order_by(Score.id.desc())))
