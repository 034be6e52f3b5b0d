"""Backfills: a version scores what others have scored. One row each, with a cursor, however many images there are.

Workers that are idle take a few images at a time. What a worker took and never reported, since it died, is found in
another pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, true, update
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.errors import ConflictError, NotFoundError
from db.schema import Image, ModelVersion, Rescore, Score

#: Images that are looked at for those without a score, in one statement.
_WINDOW = 1000
#: What is out at the end of a pass may still be reported; after so long its worker is taken for dead.
_PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Photo:
    """An image to be scored again, and the digest of the file that was scored before."""

    image_id: str
    url: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """Some images of a backfill, in hand; none of them when those at the cursor have their score."""

    rescore_id: int
    version_id: int
    photos: list[Photo]


def start(
    session: Session,
    version: ModelVersion,
    author: str,
    rate_per_s: float,
    policy: str | None = None,
    since: datetime | None = None,
) -> Rescore:
    """Begin a backfill; raises `ConflictError` when workers do not have the version, or are at it already."""
    if version.state not in ("active", "shadow"):
        raise ConflictError(
            f"model {version.name} is {version.state}, and workers do not have it: unmask model shadow {version.name}"
        )
    running = select(Rescore.id).where(Rescore.state == "running", Rescore.version_id == version.id)
    if (known := session.scalar(running)) is not None:
        raise ConflictError(f"rescore {known} of model {version.name} is running: unmask rescore --stop {known}")
    row = Rescore(version_id=version.id, policy=policy, since=since, rate_per_s=rate_per_s, author=author)
    session.add(row)
    session.flush()
    return row


def stop(session: Session, rescore_id: int) -> Rescore:
    """End one before it is done."""
    row = session.get(Rescore, rescore_id)
    if row is None:
        raise NotFoundError(f"rescore {rescore_id} is not in the record")
    if row.state != "running":
        raise ConflictError(f"rescore {rescore_id} is {row.state}")
    row.state, row.changed_at = "stopped", moment()
    session.flush()
    return row


def list_rescores(session: Session) -> list[Rescore]:
    """All of them, the latest first."""
    return list(session.scalars(select(Rescore).order_by(Rescore.id.desc())))


def running(session: Session) -> bool:
    """Whether there is anything for idle workers."""
    return session.scalar(select(Rescore.id).where(Rescore.state == "running").limit(1)) is not None


def remaining(session: Session, version_id: int, policy: str | None = None, since: datetime | None = None) -> int:
    """How many images the version has not scored."""
    statement = select(func.count()).select_from(Image).where(_wanted(policy, since), _unscored(version_id))
    return session.scalar(statement) or 0


def take(session: Session, version_ids: Sequence[int], limit: int) -> Part | None:
    """The next images of the oldest backfill of these versions whose rate allows it; None when there is none."""
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
        return Part(row.id, row.version_id, [])
    photos = _photos(session, row, window, limit)
    row.cursor = photos[-1].image_id if len(photos) == limit else window[-1]
    row.in_hand += len(photos)
    row.next_at, row.changed_at = moment(len(photos) / row.rate_per_s), moment()
    return Part(row.id, row.version_id, photos)


def report(session: Session, part: Part, *, scored: int, failed: int) -> None:
    """What became of images that were taken."""
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
    row.next_at = moment(_PATIENCE_S)


def _window(session: Session, row: Rescore) -> list[str]:
    """Ids from the cursor on, scored by the version or not: so that no statement reads them all."""
    statement = select(Image.id).where(Image.id > row.cursor, _wanted(row.policy, row.since))
    return list(session.scalars(statement.order_by(Image.id).limit(_WINDOW)))


def _photos(session: Session, row: Rescore, window: list[str], limit: int) -> list[Photo]:
    statement = (
        select(Image.id, Image.url, Image.sha256)
        .where(Image.id.in_(window), _unscored(row.version_id))
        .order_by(Image.id)
        .limit(limit)
    )
    return [Photo(row.id, row.url, row.sha256) for row in session.execute(statement) if row.url is not None]


def _wanted(policy: str | None, since: datetime | None) -> ColumnElement[bool]:
    """Images that were scored once, and whose account was not erased."""
    return (
        (Image.state == "scored")
        & Image.url.is_not(None)
        & (Image.policy == policy if policy is not None else true())
        & (Image.created_at >= since if since is not None else true())
    )


def _unscored(version_id: int) -> ColumnElement[bool]:
    return ~select(Score.id).where(Score.image_id == Image.id, Score.version_id == version_id).exists()
