"""The events of a case, in order."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.review.cases import UNSTABLE
from db.review.effective_reviews import DECISION_WORDS
from db.review.restrictions import RESTRICTIONS
from db.schema import Appeal, Case, Flag, ModelVersion, Restriction, Review, Score, Threshold


@dataclass(frozen=True, slots=True)
class CaseEvent:
    """An event: when, by whom (None: the software), its kind in one word, and a text for people."""

    at: datetime
    who: str | None
    what: str
    text: str


def case_timeline(session: Session, case_id: int, *, blind: bool = False) -> list[CaseEvent]:
    """A case's events, oldest first; without scores if ``blind``. Raises `NotFoundError`."""
    case = session.get(Case, case_id, populate_existing=True)
    if case is None:
        raise NotFoundError(f"case {case_id} does not exist")
    events = [
        CaseEvent(case.created_at, None, "opened", f"opened under policy {case.policy}"),
        *_flags(session, case_id, blind=blind),
        *_reviews(session, case_id),
        *_appeals(session, case_id),
        *_restrictions(session, case_id),
        *_ends(case),
    ]
    return sorted(events, key=lambda event: event.at)  # stable: events of one moment stay in the order above


def _flags(session: Session, case_id: int, *, blind: bool) -> Iterator[CaseEvent]:
    statement = (
        select(Flag, Score, Threshold, ModelVersion.name)
        .join(Score, Score.id == Flag.score_id)
        .outerjoin(Threshold, Threshold.id == Flag.threshold_id)
        .join(ModelVersion, ModelVersion.id == Score.version_id)
        .where(Flag.case_id == case_id)
        .order_by(Flag.id)
    )
    for flag, score, threshold, model in session.execute(statement):
        what = "unstable" if flag.kind == UNSTABLE and not blind else "flagged"
        done = "found unstable" if what == "unstable" else "flagged"
        why = "" if blind else f": model {model} scored it {_scored(score)}{_reasons(flag, threshold)}"
        yield CaseEvent(flag.created_at, None, what, f"photo {flag.image_id} {done}{why}")


def _scored(score: Score) -> str:
    again = f", and from {score.low:.4f} to {score.high:.4f} when delivered again" if score.low is not None else ""
    return f"{score.score:.4f}{again}"


def _reasons(flag: Flag, threshold: Threshold | None) -> str:
    """What raised a flag, as the rest of a sentence."""
    parts = []
    if threshold is not None:
        parts.append(
            f"threshold {threshold.id} of policy {threshold.policy} is {threshold.value:.4f}, set by {threshold.author}"
        )
    if flag.evidence is not None:
        parts.append(f"its file says: {flag.evidence}")
    return "".join(f", {part}" for part in parts)


def _reviews(session: Session, case_id: int) -> Iterator[CaseEvent]:
    for review in session.scalars(select(Review).where(Review.case_id == case_id).order_by(Review.id)):
        yield CaseEvent(review.created_at, review.reviewer, review.decision, _said(review))


def _said(review: Review) -> str:
    if review.decision == "undone":
        return "undid the last decision"
    parts = [
        "unsure" if review.decision == "unsure" else f"decided: {DECISION_WORDS[review.decision]}",
        *([f"reason {review.reason}"] if review.reason else []),
        *([f"note: {review.note}"] if review.note else []),
        *(["blind"] if review.blind else []),
        *(["with other cases"] if review.batch else []),
    ]
    return ", ".join(parts)


def _appeals(session: Session, case_id: int) -> Iterator[CaseEvent]:
    for appeal in session.scalars(select(Appeal).where(Appeal.case_id == case_id).order_by(Appeal.id)):
        yield CaseEvent(appeal.created_at, appeal.author, "appealed", f"appealed: {appeal.reason or 'reason erased'}")


def _restrictions(session: Session, case_id: int) -> Iterator[CaseEvent]:
    for row in session.scalars(select(Restriction).where(Restriction.case_id == case_id).order_by(Restriction.id)):
        said = f"restricted to leads: {RESTRICTIONS[row.reason]}" if row.reason else "opened to all reviewers again"
        yield CaseEvent(row.created_at, row.author, "restricted", said)


def _ends(case: Case) -> Iterator[CaseEvent]:
    if case.account_id is None:
        yield CaseEvent(case.changed_at, None, "erased", "account erased")
    elif case.state == "withdrawn":
        yield CaseEvent(case.changed_at, None, "withdrawn", f"withdrawn: {case.reason or 'no reason given'}")
