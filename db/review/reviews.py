"""What people decide about cases: appended, taken back by appending, and appealed. The state of a case follows.

Whoever has decided about a case decides it no more, unless they take it back: what one is unsure of, and what is
appealed, goes to somebody else.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.models import versions
from db.work import requests
from db.schema.clock import moment
from db.errors import ConflictError, DbError, NotFoundError, StaleError
from db.work.images import check_id
from db.review.queue import check_free
from db.review.review_settings import ReviewSettings
from db.schema import Appeal, Case, Flag, Image, Review, Score
from db.review.standing import check_second, last_appeal, said, standing
from db.review.timeline import timeline

DECIDED = ("confirmed", "dismissed")
#: Of what happened to a stale case, so much is told.
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says of a case, as it was when they looked (``version``), and whether they saw no scores."""

    case_id: int
    version: int
    reviewer: str
    decision: str
    reason: str | None = None
    note: str | None = None
    blind: bool = False

    def __post_init__(self) -> None:
        check_id("reviewer", self.reviewer)
        if self.decision not in (*DECIDED, "unsure"):
            raise DbError(f"decision {self.decision!r} is not confirmed, dismissed or unsure")


def decide(session: Session, decision: Decision, settings: ReviewSettings | None = None) -> Review:
    """Enter a decision, and close the case by it, unless it needs a second person.

    Raises `StaleError` when the case has changed since, `HeldError` when somebody else is looking at it,
    `SecondPersonError` when this person decided before, and `ConflictError` when it is closed or erased.
    """
    settings = settings or ReviewSettings.load()
    settings.check_reason(decision.reason)
    case = _locked(session, decision.case_id, decision.version)
    if case.state != "open":
        raise ConflictError(f"case {case.id} is {case.state}: only an open one can be decided")
    check_free(session, case, decision.reviewer)
    check_second(session, case.id, decision.reviewer)
    review = Review(
        case_id=case.id,
        reviewer=decision.reviewer,
        decision=decision.decision,
        reason=decision.reason,
        note=decision.note,
        blind=decision.blind,
    )
    session.add(review)
    session.flush()
    agreed = Counter(row.decision for row in standing(session, case.id))[decision.decision]
    closes = decision.decision in DECIDED and agreed >= settings.people(case.policy)
    _change(case, decision.decision if closes else "open", second=not closes)
    session.flush()
    return review


def decide_all(
    session: Session, decisions: Sequence[Decision], confirmed: int | None, settings: ReviewSettings | None = None
) -> list[Review]:
    """Enter decisions about several cases, such as those of one face: all of them, or none.

    Raises `ConflictError` unless ``confirmed`` repeats how many there are, and as `decide` does for the first of them
    that cannot be decided.
    """
    count = len({decision.case_id for decision in decisions})
    if confirmed != count:
        given = f", not --confirm {confirmed}" if confirmed is not None else ""
        raise ConflictError(f"it would decide {count} cases at once: repeat the number with --confirm {count}{given}")
    settings = settings or ReviewSettings.load()
    # In one order for everybody: no deadlocks.
    return [decide(session, decision, settings) for decision in sorted(decisions, key=lambda each: each.case_id)]


def undo(session: Session, case_id: int, version: int, reviewer: str, *, lead: bool = False) -> Review:
    """Take the last decision back: the case is open again. By who made it, or by a lead.

    Raises `ConflictError` when there is none, or when another case of the account is open by now.
    """
    case = _locked(session, case_id, version)
    last = _last(session, case)
    if last.reviewer != reviewer and not lead:
        raise ConflictError(f"case {case.id} was {said(last)}: only they or a lead may take it back")
    check_free(session, case, reviewer)
    review = Review(
        case_id=case.id, reviewer=check_id("reviewer", reviewer), decision="undone", blind=last.blind, undoes=last.id
    )
    session.add(review)
    session.flush()
    _reopen(session, case, second=bool(standing(session, case.id)))
    return review


def appeal(session: Session, case_id: int, version: int, author: str, reason: str) -> Case:
    """Open a decided case again, with a reason, for somebody else to decide.

    Workers are asked to score its photos with the active model where it has not. Raises as `undo` does.
    """
    if not reason.strip():
        raise DbError("an appeal needs a reason")
    case = _locked(session, case_id, version)
    if case.state not in DECIDED:
        raise ConflictError(f"case {case.id} is {case.state}: only a confirmed or dismissed one can be appealed")
    last = _last(session, case)
    session.add(Appeal(case_id=case.id, review_id=last.id, author=check_id("author", author), reason=reason))
    _reopen(session, case, second=False)
    _ask_for_scores(session, case, author)
    return case


def _locked(session: Session, case_id: int, version: int) -> Case:
    """The case for this transaction alone, as it was when somebody looked."""
    statement = select(Case).where(Case.id == case_id).with_for_update().execution_options(populate_existing=True)
    case = session.scalar(statement)
    if case is None:
        raise NotFoundError(f"case {case_id} is not in the record")
    if case.account_id is None:
        raise ConflictError(f"case {case_id} was erased with its account: nothing is left to decide")
    if case.version != version:
        # Without scores: whoever decides this case may be one who must not see them.
        happened = timeline(session, case_id, blind=True)[-max(1, min(case.version - version, _TOLD)) :]
        told = "; ".join(f"{event.text}{f' by {event.who}' if event.who else ''}" for event in happened)
        raise StaleError(f"case {case_id} has changed, from version {version} to {case.version}: {told}")
    return case


def _last(session: Session, case: Case) -> Review:
    found = standing(session, case.id)
    if found:
        return found[-1]
    appealed = last_appeal(session, case.id)
    why = f"it was appealed by {appealed.author}, and others decide" if appealed is not None else f"it is {case.state}"
    raise ConflictError(f"case {case.id} has no decision to take back: {why}")


def _reopen(session: Session, case: Case, *, second: bool) -> None:
    """Back to the queue, unless another case of the account has been opened."""
    other = select(Case.id).where(
        Case.account_id == case.account_id, Case.policy == case.policy, Case.state == "open", Case.id != case.id
    )
    try:
        with session.begin_nested():
            _change(case, "open", second=second)
            session.flush()
    except IntegrityError as error:
        found = session.scalar(other)
        raise ConflictError(
            f"case {case.id} stays as it is: case {found} of the same account and policy is open, decide that one"
        ) from error


def _change(case: Case, state: str, *, second: bool) -> None:
    """Nobody holds it any more, and pages that were made before are stale."""
    case.state, case.second = state, second
    case.held_by = case.held_until = None
    case.version, case.changed_at = case.version + 1, moment()


def _ask_for_scores(session: Session, case: Case, author: str) -> None:
    version = versions.find_active(session)
    if version is None:
        return
    scored = select(Score.id).where(Score.image_id == Flag.image_id, Score.version_id == version.id).exists()
    photos = select(Flag.image_id).join(Image, Image.id == Flag.image_id)
    photos = photos.where(Flag.case_id == case.id, Image.url.is_not(None), ~scored).distinct()
    for image_id in session.scalars(photos.order_by(Flag.image_id)).all():
        requests.ask(session, "rescore", image_id, author)
