"""Which decisions of a case still count: not those that were taken back, nor those before an appeal."""

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from db.errors import SecondPersonError
from db.schema import Appeal, Case, Review


def standing(session: Session, case_id: int) -> list[Review]:
    """Decisions since the last appeal that nobody took back, in order."""
    appealed = func.coalesce(_appealed(case_id).scalar_subquery(), 0)
    return list(session.scalars(_kept().where(Review.case_id == case_id, Review.id > appealed).order_by(Review.id)))


def earlier(session: Session, case_id: int, reviewer: str) -> Review | None:
    """The last decision of a person that nobody took back, appealed or not: they decide this case no more."""
    mine = _kept().where(Review.case_id == case_id, Review.reviewer == reviewer)
    return session.scalar(mine.order_by(Review.id.desc()).limit(1))


def had_their_say(reviewer: str) -> ColumnElement[bool]:
    """The same as a condition on cases."""
    return exists(_kept().where(Review.case_id == Case.id, Review.reviewer == reviewer).correlate(Case))


def last_appeal(session: Session, case_id: int) -> Appeal | None:
    """The latest appeal of a case."""
    return session.scalar(select(Appeal).where(Appeal.case_id == case_id).order_by(Appeal.id.desc()).limit(1))


def check_second(session: Session, case_id: int, reviewer: str) -> None:
    """Raises `SecondPersonError` for somebody who has decided about this case."""
    before = earlier(session, case_id, reviewer)
    if before is not None:
        raise SecondPersonError(f"case {case_id} was {said(before)}: somebody else decides it now")


def said(review: Review) -> str:
    """Who decided what and when, in words: "dismissed by ada at ..."."""
    word = "left unsure" if review.decision == "unsure" else review.decision
    return f"{word} by {review.reviewer} at {review.created_at:%F %T}"


def _appealed(case_id: int) -> Select[int | None]:
    return select(func.max(Appeal.review_id)).where(Appeal.case_id == case_id)


def _kept() -> Select[Review]:
    """Decisions that nobody took back."""
    undo = aliased(Review)
    return select(Review).where(Review.decision != "undone", ~exists(select(undo.id).where(undo.undoes == Review.id)))
