"""Decisions about cases. Reviews are append-only: an undo appends a row too. A case's state follows its reviews.

A reviewer decides a case only once, unless their decision is undone. Unsure and appealed cases go to another reviewer.
"""

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, DeniedError, StaleError
from db.models import versions
from db.review.case_queue import require_not_held
from db.review.case_timeline import case_timeline
from db.review.cases import get_case
from db.review.effective_reviews import (
    describe_review,
    describe_state,
    effective_reviews,
    last_appeal,
    require_second_person,
)
from db.review.restrictions import describe_restriction, require_handler
from db.review.settings import ReviewSettings
from db.schema import Appeal, Case, Flag, Image, Review, Score
from db.schema.clock import moment
from db.store.ids import check_id
from db.work import on_demand

FINAL_DECISIONS = ("confirmed", "dismissed")
#: The message about a stale case names at most this many events.
_TOLD = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """A reviewer's decision about a case at the ``version`` that they saw; ``blind``: they saw no scores.

    Decisions that are made together have the same ``batch``.
    """

    case_id: int
    version: int
    reviewer: str
    decision: str
    reason: str | None = None
    note: str | None = None
    blind: bool = False
    batch: str | None = None

    def __post_init__(self) -> None:
        check_id("reviewer", self.reviewer)
        if self.decision not in (*FINAL_DECISIONS, "unsure"):
            raise DbError(f"decision {self.decision!r} is unknown: use confirmed, dismissed or unsure")


def decide_case(session: Session, decision: Decision, settings: ReviewSettings | None = None) -> Review:
    """Record a decision, which closes the case unless it needs a second person.

    Raises `StaleError` when the case has changed since, `HeldError` when another reviewer holds it,
    `SecondPersonError` when this reviewer has decided it, `DeniedError` when only leads may, `ConflictError` when it is
    closed or erased, `NotFoundError`, and `DbError` for an unknown reason.
    """
    settings = settings or ReviewSettings.load()
    settings.check_reason(decision.reason)
    case = _locked(session, decision.case_id, decision.version)
    if case.state != "open":
        raise ConflictError(f"case {case.id} is {describe_state(case)}: only an open case can be decided")
    require_handler(session, case, decision.reviewer)
    require_not_held(session, case, decision.reviewer)
    require_second_person(session, case.id, decision.reviewer)
    review = Review(
        case_id=case.id,
        reviewer=decision.reviewer,
        decision=decision.decision,
        reason=decision.reason,
        note=decision.note,
        blind=decision.blind,
        batch=decision.batch,
    )
    session.add(review)
    session.flush()
    agreed = Counter(row.decision for row in effective_reviews(session, case.id))[decision.decision]
    closes = decision.decision in FINAL_DECISIONS and agreed >= settings.people(case.policy)
    _change(case, decision.decision if closes else "open", second=not closes)
    session.flush()
    return review


def decide_cases(
    session: Session, decisions: Sequence[Decision], confirmed: int | None, settings: ReviewSettings | None = None
) -> list[Review]:
    """Record decisions about several cases, such as those of one photo: all of them or none.

    Raises `ConflictError` unless ``confirmed`` equals the number of cases, and what `decide_case` raises for the first
    case that cannot be decided.
    """
    count = len({decision.case_id for decision in decisions})
    if confirmed != count:
        given = f", not --confirm {confirmed}" if confirmed is not None else ""
        raise ConflictError(f"this decides {count} cases at once: confirm the number with --confirm {count}{given}")
    settings = settings or ReviewSettings.load()
    batch = secrets.token_hex(16) if count > 1 else None
    # Everybody locks cases in the same order: no deadlocks.
    together = [replace(decision, batch=batch) for decision in sorted(decisions, key=lambda each: each.case_id)]
    return [decide_case(session, decision, settings) for decision in together]


def batch_of(session: Session, case_id: int) -> list[Case]:
    """The cases whose last decisions were made together with this case's, by case, if nobody has undone them."""
    last = effective_reviews(session, case_id)[-1:]
    if not last or last[0].batch is None:
        return []
    members = select(Case).where(Case.id.in_(select(Review.case_id).where(Review.batch == last[0].batch)))
    found = session.scalars(members.order_by(Case.id)).all()
    return [case for case in found if _is_last(session, case.id, last[0].batch)]


def undo_decisions(session: Session, seen: Mapping[int, int], reviewer: str, *, lead: bool = False) -> list[Review]:
    """Undo decisions that were made together, ``{case: version seen}``: all of them or none.

    Raises `ConflictError` for a case that was not decided together with the first, and what `undo_decision` raises for
    the first case whose decision cannot be undone.
    """
    first = next(iter(seen))
    together = {case.id for case in batch_of(session, first)} | {first}
    if strangers := sorted(set(seen) - together):
        raise ConflictError(f"case {strangers[0]} was not decided together with case {first}: undo it separately")
    return [undo_decision(session, case_id, version, reviewer, lead=lead) for case_id, version in sorted(seen.items())]


def _is_last(session: Session, case_id: int, batch: str) -> bool:
    last = effective_reviews(session, case_id)[-1:]
    return bool(last) and last[0].batch == batch


def undo_decision(session: Session, case_id: int, version: int, reviewer: str, *, lead: bool = False) -> Review:
    """Undo the last decision, by the reviewer who made it or by a lead; the case is open again.

    Raises `StaleError` when the case has changed since, `HeldError` when another reviewer holds it, `NotFoundError`,
    and `ConflictError` when there is no decision, when it is another reviewer's, or when another case of the account
    is open by now.
    """
    case = _locked(session, case_id, version)
    last = _last(session, case)
    if last.reviewer != reviewer and not lead:
        raise ConflictError(f"case {case.id} was {describe_review(last)}: only they or a lead may undo that")
    require_handler(session, case, reviewer)
    require_not_held(session, case, reviewer)
    review = Review(
        case_id=case.id, reviewer=check_id("reviewer", reviewer), decision="undone", blind=last.blind, undoes=last.id
    )
    session.add(review)
    session.flush()
    _reopen(session, case, second=bool(effective_reviews(session, case.id)))
    return review


def appeal_decision(session: Session, case_id: int, version: int, author: str, reason: str) -> Case:
    """Reopen a decided case, with a reason, for another reviewer to decide.

    Also requests scores by the active model where they are missing. Raises `StaleError` when the case has changed
    since, `NotFoundError`, `DbError` without a reason, and `ConflictError` when the case is not decided, is erased, or
    another case of the account is open by now.
    """
    if not reason.strip():
        raise DbError("an appeal needs a reason")
    case = _locked(session, case_id, version)
    if case.state not in FINAL_DECISIONS:
        raise ConflictError(f"case {case.id} is {describe_state(case)}: only a decided case can be appealed")
    last = _last(session, case)
    session.add(Appeal(case_id=case.id, review_id=last.id, author=check_id("author", author), reason=reason))
    _reopen(session, case, second=False)
    _ask_for_scores(session, case, author)
    return case


def _locked(session: Session, case_id: int, version: int) -> Case:
    """The case, locked for this transaction, if it is still at the version that the reviewer saw."""
    statement = select(Case).where(Case.id == case_id).with_for_update().execution_options(populate_existing=True)
    case = session.scalar(statement)
    if case is None:
        _say_why_not(session, case_id)
    if case.account_id is None:
        raise ConflictError(f"case {case_id} was erased with its account and cannot be changed")
    if case.version != version:
        # Without scores: this reviewer may be deciding the case blind.
        happened = case_timeline(session, case_id, blind=True)[-max(1, min(case.version - version, _TOLD)) :]
        told = "; ".join(f"{event.text}{f' by {event.who}' if event.who else ''}" for event in happened)
        raise StaleError(f"case {case_id} has changed, from version {version} to {case.version}: {told}")
    return case


def _say_why_not(session: Session, case_id: int) -> NoReturn:
    """Nothing was locked: there is no such case, or a reviewer's own login on PostgreSQL may not lock it."""
    case = get_case(session, case_id)
    raise DeniedError(f"case {case_id} {describe_restriction(case)}: only a lead sees its pictures and decides it")


def _last(session: Session, case: Case) -> Review:
    found = effective_reviews(session, case.id)
    if found:
        return found[-1]
    appealed = last_appeal(session, case.id)
    why = f"{appealed.author} appealed it" if appealed is not None else f"it is {describe_state(case)}"
    raise ConflictError(f"case {case.id} has no decision to undo: {why}")


def _reopen(session: Session, case: Case, *, second: bool) -> None:
    """Return a case to the queue, unless another case of the account has been opened."""
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
            f"case {case.id} cannot be reopened: decide case {found}, which is open for the same account and policy"
        ) from error


def _change(case: Case, state: str, *, second: bool) -> None:
    """Change the state, end any lease, and make older pages stale by a new version."""
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
        on_demand.add_request(session, "rescore", image_id, author)
