"""The reviewer's context from case to case: their queue options, what they may undo, and what they may see."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

from sqlalchemy.orm import Session

from db.access.actors import DECIDERS
from db.console.web.context import PageContext
from db.console.web.forms import parse_row_number
from db.errors import DbError
from db.review import blindness, case_queue, reviews, team
from db.review.cases import Order
from db.review.effective_reviews import effective_reviews, require_second_person
from db.review.restrictions import require_handler
from db.schema import Case

#: URL parameters that pages pass on from case to case.
_OPTIONS = ("policy", "order")


@dataclass(frozen=True, slots=True)
class Undo:
    """What one click takes back: the decision about a case, or those that were made together with it."""

    case: Case
    others: list[Case]


def queue_order(page: PageContext) -> Order:
    """The requested order of the queue: by value unless another is asked for; raises `DbError` for an unknown one."""
    given = page.param("order") or "value"
    order: Order | None = next((one for one in get_args(Order) if one == given), None)
    if order is None:
        raise DbError(f"order {given!r} is unknown: use {', '.join(get_args(Order))}")
    return order


def queue_options(page: PageContext) -> dict[str, str]:
    """The queue options in this request, for forms and links to pass on."""
    return {name: page.param(name) for name in _OPTIONS if page.param(name)}


def undoable_case(session: Session, page: PageContext) -> Undo | None:
    """What this person has just decided, if they may still undo that."""
    decided = parse_row_number(page.param("decided"))
    case = session.get(Case, decided) if decided is not None else None
    return undo_of(session, case, page) if case is not None else None


def undo_of(session: Session, case: Case, page: PageContext) -> Undo | None:
    """What this person may undo of a case's last decision: their own, or anybody's if they are a lead."""
    if not may_undo(session, case, page):
        return None
    others = [each for each in reviews.batch_of(session, case.id) if each.id != case.id]
    return Undo(case, [each for each in others if may_undo(session, each, page)])


def may_undo(session: Session, case: Case, page: PageContext) -> bool:
    """Whether this person may undo a case's last decision: their own, or anybody's if they are a lead."""
    last = effective_reviews(session, case.id)[-1:]
    mine = bool(last) and (last[0].reviewer == page.user.name or page.user.role == "lead")
    return mine and case.account_id is not None and page.user.role != "auditor"


def hidden_scores(session: Session, page: PageContext, case_ids: Collection[int]) -> set[int]:
    """Those of these cases whose scores this person must not learn yet."""
    if page.user.role not in DECIDERS:
        return set()
    return blindness.hidden_from(session, page.console.review, page.user.name, case_ids)


def decides_blind(session: Session, page: PageContext, case: Case) -> bool:
    """Whether this person decides this case without scores."""
    decides = page.user.role in DECIDERS
    return decides and blindness.decides_blind(session, page.console.review, case, page.user.name)


def require_free(session: Session, page: PageContext, case: Case) -> None:
    """Raises `DeniedError`, `HeldError` or `SecondPersonError` unless this person may decide an open case now."""
    require_handler(session, case, page.user.name)
    case_queue.require_not_held(session, case, page.user.name)
    require_second_person(session, case.id, page.user.name)


def shown_pictures(session: Session, page: PageContext, policy: str) -> str:
    """How pictures of a policy are shown to this person: as they chose, else as their lead did."""
    chosen = page.preferences.pictures
    return team.pictures_of(session, policy) if chosen == "team" else chosen
