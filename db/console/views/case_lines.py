"""The lines of the queue's list: what a person may see of each case, and whether they may tick it."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.access.actors import DECIDERS, LEADS
from db.console.views.flagged_by import FlaggedBy, flagged_by
from db.console.views.reviewer import hidden_scores
from db.console.views.thumbnails import Thumbnail, list_thumbnails
from db.console.web.context import PageContext
from db.queue import targets
from db.queue.targets import Due
from db.review.cases import CaseSummary
from db.schema import Case, Review
from db.schema.clock import moment


@dataclass(frozen=True, slots=True)
class CaseLine:
    """A case in the list. ``holder``: who holds it now. ``why_not``: why this person cannot tick it.

    ``flagged_by`` is empty and ``thumbnail`` None where this person must not see them.
    """

    case: Case
    photos: int
    blind: bool
    appealed: bool
    due: Due | None
    holder: str | None
    deciders: list[str]
    why_not: str | None
    flagged_by: FlaggedBy
    thumbnail: Thumbnail | None


def case_lines(session: Session, page: PageContext, found: Sequence[CaseSummary]) -> list[CaseLine]:
    """These cases as this person sees them."""
    cases = [line.case for line in found]
    ids = [case.id for case in cases]
    due, appealed, deciders = targets.dues(session, cases), targets.appealed_at(session, ids), _deciders(session, ids)
    held, hidden = _holders(session, ids), _hidden(session, page, cases)
    raised, thumbnails = flagged_by(session, set(ids) - hidden), list_thumbnails(session, page, cases)
    return [
        CaseLine(
            line.case,
            line.photos,
            line.case.id in hidden,
            line.case.id in appealed,
            due.get(line.case.id),
            held.get(line.case.id),
            deciders[line.case.id],
            _why_not(page, line.case, held.get(line.case.id), deciders[line.case.id], line.case.id in hidden),
            raised.get(line.case.id, FlaggedBy()),
            thumbnails.get(line.case.id),
        )
        for line in found
    ]


def _why_not(page: PageContext, case: Case, holder: str | None, deciders: Collection[str], blind: bool) -> str | None:
    """Why this person cannot decide a case together with others; None if they can."""
    name = page.user.name
    reasons = {
        "auditors do not decide": page.user.role not in DECIDERS,
        "only an open case can be decided": case.state != "open",
        "only leads see its photos and decide it": case.restricted is not None and page.user.role not in LEADS,
        "its account was erased": case.account_id is None,
        "you have decided it: another reviewer must": name in deciders,
        f"it is held by {holder}": holder not in (None, name),
        "you decide it blind, on its own page": blind,
    }
    return next((why for why, holds in reasons.items() if holds), None)


def why_none_together(session: Session, page: PageContext, cases: Sequence[Case]) -> dict[int, str]:
    """The cases among these that this person cannot decide together with others, and why."""
    ids = [case.id for case in cases]
    held, deciders, hidden = _holders(session, ids), _deciders(session, ids), _hidden(session, page, cases)
    found = {case.id: _why_not(page, case, held.get(case.id), deciders[case.id], case.id in hidden) for case in cases}
    return {case_id: why for case_id, why in found.items() if why is not None}


def _hidden(session: Session, page: PageContext, cases: Sequence[Case]) -> set[int]:
    """Of closed cases too: their page shows the score, and records that; a list would tell it and record nothing."""
    return hidden_scores(session, page, [case.id for case in cases])


def _holders(session: Session, ids: Collection[int]) -> dict[int, str | None]:
    held = select(Case.id, Case.held_by).where(Case.id.in_(ids), Case.held_until > moment())
    return dict(session.execute(held).all())


def _deciders(session: Session, ids: Collection[int]) -> dict[int, list[str]]:
    """Who has decided each case, in order; decisions that were undone do not count."""
    rows = session.scalars(select(Review).where(Review.case_id.in_(ids)).order_by(Review.id)).all()
    undone = {row.undoes for row in rows}
    found: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        if row.decision != "undone" and row.id not in undone and row.reviewer not in found[row.case_id]:
            found[row.case_id].append(row.reviewer)
    return found
