"""Which decisions of a case still count: those that nobody has undone, made since the last appeal."""

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from db.errors import SecondPersonError
from db.schema import UNDONE, Appeal, Case, Review, Verdict

#: How people call each decision, everywhere.
DECISION_WORDS = {"confirmed": "AI-generated", "dismissed": "real", "unsure": "unsure"}


def effective_reviews(session: Session, case_id: int) -> list[Review]:
    """Decisions since the last appeal that nobody has undone, oldest first."""
    appealed = func.coalesce(_appealed(case_id).scalar_subquery(), 0)
    return list(
        session.scalars(_not_undone().where(Review.case_id == case_id, Review.id > appealed).order_by(Review.id))
    )


def last_decision_by(session: Session, case_id: int, reviewer: str) -> Review | None:
    """A reviewer's last decision that nobody has undone, appealed or not. It bars them from deciding the case again."""
    mine = _not_undone().where(Review.case_id == case_id, Review.reviewer == reviewer)
    return session.scalar(mine.order_by(Review.id.desc()).limit(1))


def has_decided(reviewer: str) -> ColumnElement[bool]:
    """SQL condition on `Case`: this reviewer has such a decision (see `last_decision_by`)."""
    return exists(_not_undone().where(Review.case_id == Case.id, Review.reviewer == reviewer).correlate(Case))


def last_appeal(session: Session, case_id: int) -> Appeal | None:
    """The latest appeal of a case."""
    return session.scalar(select(Appeal).where(Appeal.case_id == case_id).order_by(Appeal.id.desc()).limit(1))


def require_second_person(session: Session, case_id: int, reviewer: str) -> None:
    """Raises `SecondPersonError` when this reviewer has already decided the case."""
    before = last_decision_by(session, case_id, reviewer)
    if before is not None:
        raise SecondPersonError(f"case {case_id} was {describe_review(before)}: another reviewer must decide it")


def is_standing(verdict: type[Verdict] = Verdict) -> ColumnElement[bool]:
    """SQL condition on `Verdict`, or an alias of it: it is a verdict, and nobody has undone it."""
    undo = aliased(Verdict)
    return (verdict.verdict != UNDONE) & ~exists(select(undo.id).where(undo.undoes == verdict.id))


def describe_review(review: Review) -> str:
    """A decision in words, for messages: "called real by ada at 2026-01-31 12:00:00 UTC"."""
    verb = "left" if review.decision == "unsure" else "called"
    return f"{verb} {DECISION_WORDS[review.decision]} by {review.reviewer} at {review.created_at:%F %T} UTC"


def describe_state(case: Case) -> str:
    """A case's state in words, for messages after "is": "closed as real"."""
    return f"closed as {DECISION_WORDS[case.state]}" if case.state in DECISION_WORDS else case.state


def _appealed(case_id: int) -> Select[int | None]:
    return select(func.max(Appeal.review_id)).where(Appeal.case_id == case_id)


def _not_undone() -> Select[Review]:
    """Decisions that nobody has undone."""
    undo = aliased(Review)
    return select(Review).where(Review.decision != "undone", ~exists(select(undo.id).where(undo.undoes == Review.id)))
