"""Reference sets: real photos on which false positive rates are measured, as each model version scored them.

Every version has the reals of its card. Other sets are scored once and kept as sorted scores, without a pixel; one can
be built from what reviewers decided.
"""

import hashlib
import json
import sys
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from db.errors import ConflictError, DbError, NotFoundError
from db.schema import Case, Flag, Image, ModelVersion, ReferenceSet, Score
from db.stats.cohorts import CohortColumn, scores_by_cohort
from db.stats.empirical_fpr import RealScores
from db.store.ids import check_id

#: A set from reviews holds at most so many of the latest photos.
LATEST_REVIEWED = 100_000


@dataclass(frozen=True, slots=True)
class ReferenceOrigin:
    """Where a set's photos came from: a description for people, and a SHA-256 over the set."""

    source: str
    digest: str
    author: str


@dataclass(frozen=True, slots=True)
class ReferenceScores:
    """Scores of a set of real photos, and where the photos came from; ``cohorts``: see `sort_with_cohorts`."""

    scores: Sequence[float]
    origin: ReferenceOrigin
    cohorts: Mapping[str, CohortColumn] | None = None


def add_reference(
    session: Session,
    version: ModelVersion,
    name: str,
    scores: Sequence[float],
    origin: ReferenceOrigin,
    cohorts: Mapping[str, CohortColumn] | None = None,
) -> ReferenceSet:
    """Keep a version's scores of a set; ``cohorts``, in the order of ascending scores, as `sort_with_cohorts` gives.

    Raises `ConflictError` when the name is taken or holds other photos, `IdError` when it is no id, and `DbError`
    when there are no scores.
    """
    _check_new(session, version, check_id("reference", name), origin)
    if not scores:
        raise DbError(f"reference {name!r} has no photo that could be scored")
    row = ReferenceSet(
        name=name,
        version_id=version.id,
        reals=len(scores),
        scores=_pack(sorted(scores)),
        cohorts=zlib.compress(json.dumps(cohorts).encode()) if cohorts else None,
        source=origin.source,
        digest=origin.digest,
        author=origin.author,
    )
    session.add(row)
    session.flush()
    return row


def reals_of(session: Session, version: ModelVersion, name: str | None = None) -> RealScores:
    """A set by its name, or the reals of the version's card; raises `NotFoundError`, which lists the sets there are."""
    card = card_reals(version)
    if card is not None and name in (None, card.name):
        columns = version.card["reference"].get("cohorts") or {}
        return replace(card, cohorts=scores_by_cohort(card.scores, columns))
    statement = select(ReferenceSet).where(ReferenceSet.version_id == version.id, ReferenceSet.name == name)
    row = session.scalar(statement)
    if row is None:
        known = [card.name] if card is not None else []
        known += [found.name for found in list_references(session, version.id)]
        what = f"no reference {name!r}" if name is not None else "no reference reals in its card"
        raise NotFoundError(f"model {version.name} has {what}; it has {', '.join(known) or 'none'}")
    scores = _unpack(row.scores)
    columns = json.loads(zlib.decompress(row.cohorts)) if row.cohorts else {}
    return RealScores(row.name, scores, scores_by_cohort(scores, columns))


def named_reals(session: Session, version: ModelVersion, name: str | None) -> RealScores | None:
    """A set by its name, else the reals of the version's card, without cohorts; None where it has neither."""
    card = card_reals(version)
    if name is None or (card is not None and card.name == name):
        return card
    row = session.scalar(select(ReferenceSet).where(ReferenceSet.version_id == version.id, ReferenceSet.name == name))
    return RealScores(row.name, _unpack(row.scores)) if row is not None else card


def list_references(session: Session, version_id: int | None = None) -> list[ReferenceSet]:
    """The sets that were added, the oldest first: all, or one version's."""
    statement = select(ReferenceSet).order_by(ReferenceSet.id)
    return list(session.scalars(statement if version_id is None else statement.filter_by(version_id=version_id)))


def shared_names(session: Session, first: ModelVersion, second: ModelVersion) -> list[str]:
    """The names of the added sets that both versions have scored, the oldest first."""
    theirs = {row.name for row in list_references(session, second.id)}
    return [row.name for row in list_references(session, first.id) if row.name in theirs]


def reference_from_reviews(session: Session, version: ModelVersion, author: str) -> ReferenceScores:
    """What a version scored of the platform's own photos, up to the first in an open case, without confirmed ones.

    Every photo in it that was flagged was dismissed, and so is real; among the others may be AI-generated ones that
    nobody saw. So the false positive rate measured on it is an upper limit, and a threshold set by it errs on the
    careful side. Raises `DbError` when nobody has dismissed a case: then there is no verdict to build on.
    """
    dismissed = _count_cases(session, "dismissed")
    if dismissed == 0:
        raise DbError("nobody has dismissed a case yet: no photo is known to be real by review")
    photo = aliased(Image)
    undecided = select(func.min(photo.created_at)).join(Flag, Flag.image_id == photo.id).join(Case)
    until = undecided.where(Case.state == "open").scalar_subquery()
    confirmed = select(Flag.image_id).join(Case).where(Case.state == "confirmed")
    statement = (
        select(Image.id, Score.score)
        .join(Score, Score.image_id == Image.id)
        .where(Score.version_id == version.id, Image.id.not_in(confirmed))
        .where(or_(until.is_(None), Image.created_at < until))
        .order_by(Image.created_at.desc())
        .limit(LATEST_REVIEWED)
    )
    rows = session.execute(statement).all()
    digest = hashlib.sha256("".join(sorted(row.id for row in rows)).encode()).hexdigest()
    source = f"reviews: {dismissed} cases dismissed, {_count_cases(session, 'confirmed')} confirmed and left out"
    return ReferenceScores([row.score for row in rows], ReferenceOrigin(source, digest, author))


def _count_cases(session: Session, state: str) -> int:
    return session.scalar(select(func.count(Case.id)).where(Case.state == state)) or 0


def _check_new(session: Session, version: ModelVersion, name: str, origin: ReferenceOrigin) -> None:
    """One name stands for one set of photos, whichever version scores them: promotions carry FPRs over by name."""
    card = card_reals(version)
    if card is not None and name == card.name:
        raise ConflictError(f"reference {name!r} is the set of model {version.name}'s card: choose another name")
    for row in session.scalars(select(ReferenceSet).where(ReferenceSet.name == name)):
        if row.version_id == version.id:
            raise ConflictError(f"reference {name!r} of model {version.name} exists since {row.created_at:%F}")
        if row.digest != origin.digest:
            raise ConflictError(f"reference {name!r} already holds other photos ({row.source}): choose another name")


def card_reals(version: ModelVersion) -> RealScores | None:
    """The real photos of a version's card, without cohorts; None when it has none."""
    found = version.card.get("reference")
    return RealScores(found["name"], sorted(found["scores"])) if found and found["scores"] else None


def _pack(scores: Sequence[float]) -> bytes:
    """Little-endian doubles, compressed: 100,000 scores take less than a megabyte."""
    packed = array("d", scores)
    if sys.byteorder == "big":
        packed.byteswap()
    return zlib.compress(packed.tobytes())


def _unpack(data: bytes) -> Sequence[float]:
    packed = array("d")
    packed.frombytes(zlib.decompress(data))
    if sys.byteorder == "big":
        packed.byteswap()
    return packed
