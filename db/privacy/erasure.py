"""Erasing an account: its id, URLs and pictures go everywhere; its scores stay, anonymous, for the audit.

In batches, each its own transaction: running it again finishes an interrupted run. Workers lock an image's row before
they read its account, so that a score being recorded opens no case for an account that was just erased. A change of
thresholds may be opening a case meanwhile: erasure waits for it before it closes cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, select, update
from sqlalchemy.orm import Session

from db.policy import case_changes
from db.schema import AccountFacts, Appeal, Case, Comment, Image, PerceptualHash, Preview, Projection, Request, Review
from db.schema.clock import moment
from db.store.session import Database, erasing

#: Images in one transaction.
BATCH = 1000


@dataclass(frozen=True, slots=True)
class ErasureCounts:
    """How many images, pictures and cases an account has (or had)."""

    images: int
    pictures: int
    cases: int


def erase_account(database: Database, account_id: str, batch: int = BATCH) -> ErasureCounts:
    """Erase an account from the record; repeating it is safe, and finishes an interrupted run."""
    images, pictures, left = 0, 0, True
    while left:
        with database.writing() as session:
            ids = list(session.scalars(_images(account_id).limit(batch).with_for_update()))
            pictures += erase_images(session, ids)
        images, left = images + len(ids), bool(ids)
    with database.writing() as session:
        case_changes.wait_for_changes(session)
        cases = erase_from_cases(session, Case.account_id == account_id)
        session.execute(delete(AccountFacts).where(AccountFacts.account_id == account_id))
    return ErasureCounts(images, pictures, cases)


def preview_erasure(session: Session, account_id: str) -> ErasureCounts:
    """What `erase_account` would erase."""
    images = _images(account_id).subquery()
    pictures = select(func.count()).where(Preview.image_id.in_(select(images)), Preview.picture.is_not(None))
    cases = select(func.count()).where(Case.account_id == account_id)
    counts = [session.scalar(query) or 0 for query in (select(func.count()).select_from(images), pictures, cases)]
    return ErasureCounts(*counts)


def erase_images(session: Session, image_ids: Sequence[Any]) -> int:
    """Remove everything that identifies the account, and give up images that wait; returns how many pictures went."""
    gone = update(Preview).where(Preview.image_id.in_(image_ids), Preview.picture.is_not(None)).values(picture=None)
    asked = update(Request).where(Request.image_id.in_(image_ids), Request.state == "pending")
    pictures = len(session.scalars(gone.returning(Preview.id)).all())
    session.execute(asked.values(state="failed", reason="erased"))
    # Why a request failed may name the URL.
    session.execute(update(Request).where(Request.image_id.in_(image_ids)).values(detail=None))
    session.execute(
        delete(PerceptualHash).where(PerceptualHash.image_id.in_(image_ids))
    )  # a hash could find the face again
    session.execute(delete(Projection).where(Projection.image_id.in_(image_ids)))  # so could an embedding
    session.execute(update(Image).where(Image.id.in_(image_ids)).values(_anonymous()))
    return pictures


def erase_from_cases(session: Session, which: ColumnElement[bool]) -> int:
    """Remove the account from cases, and withdraw open ones, which nobody can decide any more; returns how many.

    The text of appeals, comments and review notes goes too: it may be the owner's words, or be about them. So do the
    facts about accounts of which no case is left.
    """
    accounts = session.scalars(select(Case.account_id).where(which).distinct()).all()
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
    session.execute(update(Comment).where(Comment.case_id.in_(ids)).values(text=None))
    left = select(Case.account_id).where(Case.account_id.in_(accounts))
    forgotten = delete(AccountFacts).where(AccountFacts.account_id.in_(accounts), AccountFacts.account_id.not_in(left))
    session.execute(forgotten.execution_options(synchronize_session=False))
    with erasing(session):
        written = update(Review).where(Review.case_id.in_(ids), Review.note.is_not(None)).values(note=None)
        session.execute(written.execution_options(synchronize_session=False))
    return len(ids)


def _images(account_id: str) -> Select[str]:
    return select(Image.id).where(Image.account_id == account_id).order_by(Image.id)


def _anonymous() -> dict[str, object]:
    """The detail goes too, as it may name the URL, and the file's digest, by which a copy of the photo could be found.

    A worker that has leased the image may still record its score: a trigger then drops the digest.
    """
    waits = Image.state == "pending"
    return {
        "account_id": None,
        "url": None,
        "detail": None,
        "sha256": None,
        "state": case((waits, "unusable"), else_=Image.state),
        "reason": case((waits, "erased"), else_=Image.reason),
        "lease_owner": None,
        "lease_until": None,
    }
