"""Golden items: samples whose true verdict a lead knows, mixed in among the others to measure reviewers.

Reviewers cannot tell them from other samples. A verdict on one is kept, but counts in no live rate: those count the
verdict that judged the sample first.
"""

from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, NotFoundError
from db.review.effective_reviews import is_standing
from db.schema import GoldenItem, GoldenShare, Image, Sample, Verdict
from db.stats.hash_fraction import hash_fraction

MAX_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class GoldenLine:
    """A golden item, and how reviewers judged it since."""

    sample_id: int
    image_id: str
    verdict: str
    right: int
    wrong: int
    unsure: int


def add_golden(session: Session, sample_id: int, verdict: str, author: str) -> GoldenItem:
    """Mark a judged sample as golden; raises `NotFoundError`, `ConflictError`, and `DbError` for a verdict unknown."""
    if verdict not in ("fake", "real"):
        raise DbError(f"verdict {verdict!r} is not one of fake, real")
    sample = session.get(Sample, sample_id)
    if sample is None:
        raise NotFoundError(f"sample {sample_id} is not in the record")
    if not sample.judged:
        raise ConflictError(f"sample {sample_id} has no sure verdict yet: only a judged sample can be golden")
    if session.get(GoldenItem, sample_id) is not None:
        raise ConflictError(f"sample {sample_id} is golden already")
    row = GoldenItem(sample_id=sample_id, verdict=verdict, author=author)
    session.add(row)
    session.flush()
    return row


def set_share(session: Session, share: float, author: str) -> GoldenShare:
    """Set the share of golden items among what reviewers judge; raises `DbError`."""
    if not 0 <= share <= MAX_SHARE:
        raise DbError(f"a share of {share:g} is not between 0 and {MAX_SHARE:g}")
    row = GoldenShare(share=share, author=author)
    session.add(row)
    session.flush()
    return row


def current_share(session: Session) -> float:
    """The share in effect; 0 until a lead sets one."""
    return session.scalar(select(GoldenShare.share).order_by(GoldenShare.id.desc()).limit(1)) or 0.0


def next_golden(session: Session, reviewer: str) -> int | None:
    """The golden sample that this reviewer should judge next, if it is time for one; each at most once."""
    share = current_share(session)
    judged = session.scalar(select(func.count(Verdict.id)).where(Verdict.reviewer == reviewer)) or 0
    if hash_fraction(f"golden {reviewer} {judged}".encode()) >= share:
        return None
    mine = exists().where(Verdict.sample_id == GoldenItem.sample_id, Verdict.reviewer == reviewer)
    statement = select(GoldenItem.sample_id).join(Sample, Sample.id == GoldenItem.sample_id)
    statement = statement.join(Image, Image.id == Sample.image_id).where(~mine, Image.url.is_not(None))
    return session.scalar(statement.order_by(GoldenItem.sample_id).limit(1))


def is_golden(session: Session, sample_id: int) -> bool:
    """Whether a sample is golden."""
    return session.get(GoldenItem, sample_id) is not None


def list_golden(session: Session) -> list[GoldenLine]:
    """All golden items, and how people judged them since they are golden."""
    given = (Verdict.sample_id == GoldenItem.sample_id) & (Verdict.created_at >= GoldenItem.created_at)
    judged = given & is_standing()
    counts = [
        func.count(Verdict.id).filter(condition)
        for condition in (
            Verdict.verdict == GoldenItem.verdict,
            (Verdict.verdict != GoldenItem.verdict) & (Verdict.verdict != "unsure"),
            Verdict.verdict == "unsure",
        )
    ]
    statement = (
        select(GoldenItem.sample_id, Sample.image_id, GoldenItem.verdict, *counts)
        .join(Sample, Sample.id == GoldenItem.sample_id)
        .outerjoin(Verdict, judged)
        .group_by(GoldenItem.sample_id, Sample.image_id, GoldenItem.verdict)
        .order_by(GoldenItem.sample_id)
    )
    return [GoldenLine(row[0], row[1], row[2], row[3], row[4], row[5]) for row in session.execute(statement)]
