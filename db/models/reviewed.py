"""A reference set from what people decided: photos of the platform itself, less those that reviewers confirmed."""

import hashlib

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from db.errors import DbError
from db.models.references import Built, Origin
from db.schema import Case, Flag, Image, ModelVersion, Score

#: So many of the latest photos, at most.
LATEST = 100_000


def reviewed(session: Session, version: ModelVersion, author: str) -> Built:
    """What a version scored, of the photos before the first whose case is still open, less confirmed ones.

    Every photo that was flagged is then a dismissed one, and real; of the others some may be AI-generated that nobody
    saw. So the false positive rate that is measured on it is an upper limit, and a threshold set by it errs on the
    careful side. Raises `DbError` when nobody has dismissed anything: then there is no verdict to build on.
    """
    dismissed = _count(session, "dismissed")
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
        .limit(LATEST)
    )
    rows = session.execute(statement).all()
    digest = hashlib.sha256("".join(sorted(row.id for row in rows)).encode()).hexdigest()
    source = f"reviews: {dismissed} cases dismissed, {_count(session, 'confirmed')} confirmed and left out"
    return Built([row.score for row in rows], Origin(source, digest, author))


def _count(session: Session, state: str) -> int:
    return session.scalar(select(func.count(Case.id)).where(Case.state == state)) or 0
