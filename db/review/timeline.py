"""Everything that happened to a case, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.schema import Appeal, Case, Flag, ModelVersion, Review, Score, Threshold


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: when, by whom (null: by the software), what in one word, and in words for people."""

    at: datetime
    who: str | None
    what: str
    text: str


def timeline(session: Session, case_id: int, *, blind: bool = False) -> list[Event]:
    """A case's events, the oldest first; ``blind``: without scores. Raises `NotFoundError`."""
    case = session.get(Case, case_id, populate_existing=True)
    if case is None:
        raise NotFoundError(f"case {case_id} is not in the record")
    events = [
        Event(case.created_at, None, "opened", f"opened under policy {case.policy}"),
        *_flags(session, case_id, blind=blind),
        *_reviews(session, case_id),
        *_appeals(session, case_id),
        *_ends(case),
    ]
    return sorted(events, key=lambda event: event.at)  # of one moment in the order above


def _flags(session: Session, case_id: int, *, blind: bool) -> Iterator[Event]:
    statement = (
        select(Flag, Score.score, Threshold, ModelVersion.name)
        .join(Score, Score.id == Flag.score_id)
        .join(Threshold, Threshold.id == Flag.threshold_id)
        .join(ModelVersion, ModelVersion.id == Threshold.version_id)
        .where(Flag.case_id == case_id)
        .order_by(Flag.id)
    )
    for flag, score, threshold, model in session.execute(statement):
        why = (
            f": model {model} scored it {score:.4f}, threshold {threshold.id} of policy {threshold.policy} is "
            f"{threshold.value:.4f}, set by {threshold.author}"
        )
        yield Event(flag.created_at, None, "flagged", f"photo {flag.image_id} flagged{'' if blind else why}")


def _reviews(session: Session, case_id: int) -> Iterator[Event]:
    for review in session.scalars(select(Review).where(Review.case_id == case_id).order_by(Review.id)):
        yield Event(review.created_at, review.reviewer, review.decision, _said(review))


def _said(review: Review) -> str:
    if review.decision == "undone":
        return "took the last decision back"
    parts = [
        {"confirmed": "confirmed: AI-generated", "dismissed": "dismissed: real", "unsure": "unsure"}[review.decision],
        *([f"reason {review.reason}"] if review.reason else []),
        *([f"note: {review.note}"] if review.note else []),
        *(["saw no scores"] if review.blind else []),
    ]
    return ", ".join(parts)


def _appeals(session: Session, case_id: int) -> Iterator[Event]:
    for appeal in session.scalars(select(Appeal).where(Appeal.case_id == case_id).order_by(Appeal.id)):
        yield Event(appeal.created_at, appeal.author, "appealed", f"appealed: {appeal.reason or 'reason erased'}")


def _ends(case: Case) -> Iterator[Event]:
    if case.account_id is None:
        yield Event(case.changed_at, None, "erased", "account erased")
    elif case.state == "withdrawn":
        yield Event(case.changed_at, None, "withdrawn", f"withdrawn: {case.reason or 'no reason given'}")
