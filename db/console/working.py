"""What goes with somebody from case to case: how they like to work, what is theirs to take back, what they may see."""

from sqlalchemy.orm import Session

from db.review.blind import shown_blind
from db.review.cases import Order
from db.console.visit import Visit, digits
from db.errors import NotFoundError
from db.schema import Case
from db.review.standing import standing

#: Who decides; auditors read.
DECIDERS = ("reviewer", "lead")
#: How somebody likes to work: it goes with them from case to case, in the address.
_CHOICES = ("policy", "order")


def find(session: Session, case_id: int) -> Case:
    """The case; raises `NotFoundError`."""
    case = session.get(Case, case_id)
    if case is None:
        raise NotFoundError(f"case {case_id} is not in the record")
    return case


def order_of(visit: Visit) -> Order:
    """The oldest first, unless the highest score is asked for."""
    return "score" if visit.asked("order") == "score" else "age"


def choices(visit: Visit) -> dict[str, str]:
    """What forms carry along."""
    return {name: visit.asked(name) for name in _CHOICES if visit.asked(name)}


def undoable(session: Session, visit: Visit) -> Case | None:
    """The case that this person decided a moment ago, while it is theirs to take back."""
    decided = digits(visit.asked("decided"))
    case = session.get(Case, decided) if decided is not None else None
    return case if case is not None and is_mine(session, case, visit) else None


def is_mine(session: Session, case: Case, visit: Visit) -> bool:
    """Whether the last decision of a case is this person's to take back: their own, or anybody's for a lead."""
    last = standing(session, case.id)[-1:]
    mine = bool(last) and (last[0].reviewer == visit.who.name or visit.who.role == "lead")
    return mine and case.account_id is not None and visit.who.role != "auditor"


def is_blind(visit: Visit, case: Case) -> bool:
    """Whether this person decides this case without scores; once it is decided there is nothing to hide."""
    share = visit.console.review.blind_share
    return case.state == "open" and visit.who.role in DECIDERS and shown_blind(case.id, visit.who.name, share)
