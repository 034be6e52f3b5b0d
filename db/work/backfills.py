"""Backfills: a version scores what others have scored. Each is one row with a cursor, however many images there are.

Idle workers lease a few images at a time. What a worker leased and never reported, since it died, another pass finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, true, update
from sqlalchemy.orm import Session

from db.errors import ConflictError, NotFoundError
from db.schema import Image, ModelVersion, Rescore, Score
from db.schema.clock import moment

#: How many images one statement searches for those without a score.
_WINDOW = 1000
#: At the end of a pass, workers have so long to report; after that they are considered dead.
_REPORT_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class BackfillImage:
    """An image to score again, and the digest of the file that was scored before."""

    image_id: str
    url: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class BackfillBatch:
    """Some images of a backfill, leased; empty when those at the cursor have their score."""

    rescore_id: int
    version_id: int
    photos: list[BackfillImage]


def start_rescore(
    session: Session,
    version: ModelVersion,
    author: str,
    rate_per_s: float,
    policy: str | None = None,
    since: datetime | None = None,
) -> Rescore:
    """Start a backfill; raises `ConflictError` when workers do not score with the version, or one is running for it."""
    if version.state not in ("active", "shadow"):
        raise ConflictError(
            f"model {version.name} is {version.state}, which no worker loads: unmask model shadow {version.name}"
        )
    any_running = select(Rescore.id).where(Rescore.state == "running", Rescore.version_id == version.id)
    if (known := session.scalar(any_running)) is not None:
        raise ConflictError(f"rescore {known} of model {version.name} is running: unmask rescore --stop {known}")
    row = Rescore(version_id=version.id, policy=policy, since=since, rate_per_s=rate_per_s, author=author)
    session.add(row)
    session.flush()
    return row


def stop_rescore(session: Session, rescore_id: int) -> Rescore:
    """Stop a backfill; raises `NotFoundError` for an unknown one, and `ConflictError` when it is not running."""
    row = session.get(Rescore, rescore_id)
    if row is None:
        raise NotFoundError(f"rescore {rescore_id} is not in the record")
    if row.state != "running":
        raise ConflictError(f"rescore {rescore_id} is {row.state}")
    row.state, row.changed_at = "stopped", moment()
    session.flush()
    return row


def list_rescores(session: Session) -> list[Rescore]:
    """All backfills, the latest first."""
    return list(session.scalars(select(Rescore).order_by(Rescore.id.desc())))


def any_running(session: Session) -> bool:
    """Whether a backfill is running."""
    return session.scalar(select(Rescore.id).where(Rescore.state == "running").limit(1)) is not None


def count_unscored(session: Session, version_id: int, policy: str | None = None, since: datetime | None = None) -> int:
    """How many images of a policy, added since a time, the version has not scored."""
    statement = select(func.count()).select_from(Image).where(_wanted(policy, since), _unscored(version_id))
    return session.scalar(statement) or 0


def lease_batch(session: Session, version_ids: Sequence[int], limit: int) -> BackfillBatch | None:
    """Lease the next images of these versions' oldest backfill whose rate allows it; None when there is none."""
    due = (
        select(Rescore)
        .where(Rescore.state == "running", Rescore.version_id.in_(version_ids), Rescore.next_at <= moment())
        .order_by(Rescore.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = session.scalar(due)
    if row is None:
        return None
    window = _window(session, row)
    if not window:
        _end_pass(row)
        return BackfillBatch(row.id, row.version_id, [])
    photos = _photos(session, row, window, limit)
    row.cursor = photos[-1].image_id if len(photos) == limit else window[-1]
    row.in_hand += len(photos)
    row.next_at, row.changed_at = moment(len(photos) / row.rate_per_s), moment()
    return BackfillBatch(row.id, row.version_id, photos)


def report_batch(session: Session, part: BackfillBatch, *, scored: int, failed: int) -> None:
    """Record what became of leased images."""
    statement = (
        update(Rescore)
        .where(Rescore.id == part.rescore_id)
        .values(
            in_hand=Rescore.in_hand - len(part.photos),
            scored=Rescore.scored + scored,
            failed=Rescore.failed + failed,
            changed_at=moment(),
        )
    )
    session.execute(statement.execution_options(synchronize_session=False))


def _end_pass(row: Rescore) -> None:
    if row.in_hand <= 0:
        row.state, row.changed_at = "done", moment()
        return
    row.cursor, row.in_hand, row.failed, row.passes = "", 0, 0, row.passes + 1
    row.next_at = moment(_REPORT_WAIT_S)


def _window(session: Session, row: Rescore) -> list[str]:
    """Ids from the cursor on, scored by the version or not, so that no statement reads all images."""
    statement = select(Image.id).where(Image.id > row.cursor, _wanted(row.policy, row.since))
    return list(session.scalars(statement.order_by(Image.id).limit(_WINDOW)))


def _photos(session: Session, row: Rescore, window: list[str], limit: int) -> list[BackfillImage]:
    statement = (
        select(Image.id, Image.url, Image.sha256)
        .where(Image.id.in_(window), _unscored(row.version_id))
        .order_by(Image.id)
        .limit(limit)
    )
    return [BackfillImage(row.id, row.url, row.sha256) for row in session.execute(statement) if row.url is not None]


def _wanted(policy: str | None, since: datetime | None) -> ColumnElement[bool]:
    """Images that some version has scored and whose account was not erased."""
    return (
        (Image.state == "scored")
        & Image.url.is_not(None)
        & (Image.policy == policy if policy is not None else true())
        & (Image.created_at >= since if since is not None else true())
    )


def _unscored(version_id: int) -> ColumnElement[bool]:
    return ~select(Score.id).where(Score.image_id == Image.id, Score.version_id == version_id).exists()
