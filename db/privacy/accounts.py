"""Forgetting an account: its id, URLs and pictures go everywhere, its anonymous scores stay for the audit.

In batches, each whole by itself: what was interrupted is finished by doing it again. Workers lock an image's row before
they look whose it is, so that a score which is being recorded opens no case for an account that was just forgotten. A
change of thresholds may be opening one meanwhile: it is waited for before cases are closed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, select, update
from sqlalchemy.orm import Session

from db.policy import changes
from db.schema.clock import moment
from db.store.passes import erasing
from db.schema import Appeal, Case, Image, Look, Preview, Request, Review
from db.store.session import Database

#: Images in one transaction.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much of an account there was."""

    images: int
    pictures: int
    cases: int


def forget(database: Database, account_id: str, batch: int = BATCH) -> Forgotten:
    """Erase an account from the record; safe to repeat, and to go on with."""
    images, pictures, left = 0, 0, True
    while left:
        with database.writing() as session:
            ids = list(session.scalars(_images(account_id).limit(batch).with_for_update()))
            pictures += erase(session, ids)
        images, left = images + len(ids), bool(ids)
    with database.writing() as session:
        changes.wait(session)
        cases = close_cases(session, Case.account_id == account_id)
    return Forgotten(images, pictures, cases)


def known(session: Session, account_id: str) -> Forgotten:
    """What `forget` would erase."""
    images = _images(account_id).subquery()
    pictures = select(func.count()).where(Preview.image_id.in_(select(images)), Preview.picture.is_not(None))
    cases = select(func.count()).where(Case.account_id == account_id)
    counts = [session.scalar(query) or 0 for query in (select(func.count()).select_from(images), pictures, cases)]
    return Forgotten(*counts)


def erase(session: Session, image_ids: Sequence[Any]) -> int:
    """Take from images all that tells whose they are; those that still waited are given up. How many pictures went."""
    gone = update(Preview).where(Preview.image_id.in_(image_ids), Preview.picture.is_not(None)).values(picture=None)
    asked = update(Request).where(Request.image_id.in_(image_ids), Request.state == "pending")
    pictures = len(session.scalars(gone.returning(Preview.id)).all())
    session.execute(asked.values(state="failed", reason="erased"))
    # What one could not be fulfilled for may name the URL.
    session.execute(update(Request).where(Request.image_id.in_(image_ids)).values(detail=None))
    session.execute(delete(Look).where(Look.image_id.in_(image_ids)))  # a face could be found again by it
    session.execute(update(Image).where(Image.id.in_(image_ids)).values(_anonymous()))
    return pictures


def close_cases(session: Session, which: ColumnElement[bool]) -> int:
    """Take the account from cases; one that is open can no longer be decided, and is withdrawn. How many.

    What was written in appeals and reviews goes too: it may be the account's owner who speaks, or be about them.
    """
    statement = (
        update(Case)
        .where(which)
        .values(
            account_id=None,
            state=case((Case.state == "open", "withdrawn"), else_=Case.state),
            version=Case.version + 1,
            changed_at=moment(),
            held_by=None,
            held_until=None,
            second=False,
        )
        .returning(Case.id)
        .execution_options(synchronize_session=False)
    )
    ids = session.scalars(statement).all()
    session.execute(update(Appeal).where(Appeal.case_id.in_(ids)).values(reason=None))
    with erasing(session):
        written = update(Review).where(Review.case_id.in_(ids), Review.note.is_not(None)).values(note=None)
        session.execute(written.execution_options(synchronize_session=False))
    return len(ids)


def _images(account_id: str) -> Select[str]:
    return select(Image.id).where(Image.account_id == account_id).order_by(Image.id)


def _anonymous() -> dict[str, object]:
    """The detail may name the URL. A worker that has the image in hand may still record its score."""
    waits = Image.state == "pending"
    return {
        "account_id": None,
        "url": None,
        "detail": None,
        "state": case((waits, "not_scorable"), else_=Image.state),
        "reason": case((waits, "erased"), else_=Image.reason),
        "lease_owner": None,
        "lease_until": None,
    }
