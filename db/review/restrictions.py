"""Restricted cases: photos that need special handling. Only leads see their pictures and decide them."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.access.actors import LEADS
from db.errors import ConflictError, DbError, DeniedError, NotFoundError
from db.schema import Case, Person, Restriction
from db.store.ids import check_id

#: Why a case is restricted: a code, and what people read.
RESTRICTIONS = {
    "minor": "shows a minor",
    "nudity": "shows nudity",
    "violence": "shows violence",
    "self-harm": "shows self-harm",
    "other": "needs a lead for another reason",
}


def may_handle(session: Session, case: Case, reviewer: str) -> bool:
    """Whether a person may see a case's pictures and decide it. While nobody is registered, everybody may."""
    if case.restricted is None:
        return True
    role = session.scalar(select(Person.role).where(Person.name == reviewer))
    return role in LEADS if role is not None else session.scalar(select(Person.id).limit(1)) is None


def require_handler(session: Session, case: Case, reviewer: str) -> None:
    """Raises `DeniedError`, which says why, unless `may_handle`."""
    if not may_handle(session, case, reviewer):
        raise DeniedError(f"case {case.id} {describe_restriction(case)}: only a lead sees its pictures and decides it")


def locked_for(session: Session, case_id: int, reviewer: str) -> Case:
    """The case, locked for this transaction, for somebody who may handle it; raises `NotFoundError`, `DeniedError`.

    The row is read before it is locked: on PostgreSQL a reviewer's own login cannot lock a restricted case.
    """
    case = session.get(Case, case_id, populate_existing=True)
    if case is None:
        raise NotFoundError(f"case {case_id} does not exist")
    require_handler(session, case, reviewer)
    statement = select(Case).where(Case.id == case_id).with_for_update().execution_options(populate_existing=True)
    case = session.scalars(statement).one()
    require_handler(session, case, reviewer)
    return case


def describe_restriction(case: Case) -> str:
    """Why the case is restricted, after "the case": "shows a minor"."""
    return RESTRICTIONS.get(case.restricted or "", "is restricted")


def restrict_case(session: Session, case_id: int, author: str, reason: str | None) -> None:
    """Restrict an open case to leads, which releases it; without a reason open it to all reviewers again.

    Raises `DbError` for an unknown reason, `NotFoundError`, `ConflictError` for a case that is closed, and
    `DeniedError` when somebody who may not handle the case opens it to all.
    """
    if reason is not None and reason not in RESTRICTIONS:
        raise DbError(f"reason {reason!r} is not one of {', '.join(RESTRICTIONS)}")
    case = locked_for(session, case_id, author)
    if case.state != "open":
        raise ConflictError(f"case {case_id} is closed: only an open case can be restricted")
    session.add(Restriction(case_id=case_id, author=check_id("author", author), reason=reason))
    case.restricted, case.held_by, case.held_until = reason, None, None
    session.flush()


def list_restricted(session: Session, limit: int) -> list[Case]:
    """Open cases that are restricted to leads, oldest first."""
    restricted = select(Case).where(Case.state == "open", Case.restricted.is_not(None))
    return list(session.scalars(restricted.order_by(Case.created_at, Case.id).limit(limit)))
