"""Projections of embeddings that are kept for a while: what they are of, and who may have them.

A worker makes one of each photo that it scores. Those are kept of which an engine that nobody knows may be the maker:
of flagged photos, and of those whose score is among the highest; and of a few others, at random. They show no picture,
but from two of them one can tell whether a detector finds two photos alike: they go with the account, and after
UNMASK_KEEP_PROJECTIONS_DAYS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.schema import Image, Projection
from db.store.dialect import insert


@dataclass(frozen=True, slots=True)
class KeptProjection:
    """An image's projection, and why it is kept: one of `db.schema.models.PROJECTION_KINDS`."""

    kind: str
    projection: bytes


def keep_projections(session: Session, version_id: int, kept: Mapping[str, KeptProjection]) -> None:
    """Keep these, by image; not of images whose account was erased meanwhile, and one of each image and version."""
    known = _with_account(session, sorted(kept))
    rows = [
        {"image_id": name, "version_id": version_id, "kind": kept[name].kind, "projection": kept[name].projection}
        for name in known
    ]
    if rows:
        statement = insert(session, Projection).on_conflict_do_nothing(index_elements=["image_id", "version_id"])
        session.connection().execute(statement, rows)


def _with_account(session: Session, image_ids: Sequence[str]) -> list[str]:
    statement = select(Image.id).where(Image.id.in_(image_ids), Image.account_id.is_not(None)).order_by(Image.id)
    return list(session.scalars(statement)) if image_ids else []
