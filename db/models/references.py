"""Reference sets: the real photos on which false positive rates are measured, as each model version scored them.

Every version has the reals of its card; others are scored once, and kept as sorted scores without a pixel.
"""

import sys
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, NotFoundError
from db.work.images import check_id
from db.stats.reals import Reals
from db.schema import ModelVersion, ReferenceSet


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a set's photos came from: a description for people, and the SHA-256 of which they were."""

    source: str
    digest: str
    author: str


@dataclass(frozen=True, slots=True)
class Built:
    """Scores of real photos, and where they came from."""

    scores: Sequence[float]
    origin: Origin


def add(session: Session, version: ModelVersion, name: str, scores: Sequence[float], origin: Origin) -> ReferenceSet:
    """Keep what a version said of a set; raises `ConflictError` when the name stands for other photos, or is taken."""
    _check_new(session, version, check_id("reference", name), origin)
    if not scores:
        raise DbError(f"reference {name!r} has no photo that could be scored")
    row = ReferenceSet(
        name=name,
        version_id=version.id,
        reals=len(scores),
        scores=_pack(sorted(scores)),
        source=origin.source,
        digest=origin.digest,
        author=origin.author,
    )
    session.add(row)
    session.flush()
    return row


def reals_of(session: Session, version: ModelVersion, name: str | None = None) -> Reals:
    """A set by its name, or the reals of the version's card; raises `NotFoundError` naming those that there are."""
    card = card_reals(version)
    if card is not None and name in (None, card.name):
        return card
    statement = select(ReferenceSet).where(ReferenceSet.version_id == version.id, ReferenceSet.name == name)
    row = session.scalar(statement)
    if row is None:
        known = [card.name] if card is not None else []
        known += [found.name for found in list_sets(session, version.id)]
        what = f"no reference {name!r}" if name is not None else "no reference reals in its card"
        raise NotFoundError(f"model {version.name} has {what}; it has {', '.join(known) or 'none'}")
    return Reals(row.name, _unpack(row.scores))


def list_sets(session: Session, version_id: int | None = None) -> list[ReferenceSet]:
    """The sets that were built, the oldest first: all, or one version's."""
    statement = select(ReferenceSet).order_by(ReferenceSet.id)
    return list(session.scalars(statement if version_id is None else statement.filter_by(version_id=version_id)))


def _check_new(session: Session, version: ModelVersion, name: str, origin: Origin) -> None:
    """One name stands for one set of photos, whichever version scores them, or no FPR could be carried over."""
    card = card_reals(version)
    if card is not None and name == card.name:
        raise ConflictError(f"reference {name!r} is that of model {version.name}'s card: choose another name")
    for row in session.scalars(select(ReferenceSet).where(ReferenceSet.name == name)):
        if row.version_id == version.id:
            raise ConflictError(f"reference {name!r} of model {version.name} is there since {row.created_at:%F}")
        if row.digest != origin.digest:
            raise ConflictError(f"reference {name!r} stands for other photos ({row.source}): choose another name")


def card_reals(version: ModelVersion) -> Reals | None:
    """The reals of a version's card, if it has any."""
    found = version.card.get("reference")
    return Reals(found["name"], sorted(found["scores"])) if found and found["scores"] else None


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
