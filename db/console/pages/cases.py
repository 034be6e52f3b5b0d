"""A case: everything that a reviewer needs to decide it, and what they decide."""

from collections.abc import Collection
from typing import Any

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.review import dossiers, lookalikes, queue, reviews
from db.console import photos
from db.console.pages.queue import go_next
from db.console.visit import Visit, digits
from db.console.working import DECIDERS, choices, find, is_blind, is_mine, order_of, undoable
from db.errors import ConflictError
from db.review.reviews import DECIDED, Decision
from db.review.timeline import timeline

NOTE_LIMIT = 4000
#: Events that tell a score: not for whoever decides blind.
_SCORED = ("flagged",)
#: How a form names other cases that are to be decided with this one.
_ALSO = "also-"


def show(visit: Visit) -> Response:
    """The case. Whoever may decide it keeps it for a while, so that nobody else does the same work."""
    case_id = visit.number("case_id")
    why_not = _hold(visit, case_id)
    _seen(visit, case_id)
    with visit.database.reading() as session:
        case = find(session, case_id)
        blind = is_blind(visit, case)
        context: dict[str, Any] = {
            "case": case,
            "blind": blind,
            "photos": photos.shown(session, case_id, blind=blind),
            "events": [event for event in timeline(session, case_id) if not blind or event.what not in _SCORED],
            "history": dossiers.history(session, case),
            "may_undo": is_mine(session, case, visit),
            "decided": undoable(session, visit),
        }
    decides = visit.who.role in DECIDERS
    return visit.page(
        "case.html",
        why_not=why_not,
        may_decide=decides and why_not is None and case.state == "open",
        may_appeal=decides and case.state in DECIDED and case.account_id is not None,
        pixels=decides,
        reasons=visit.console.review.review_reasons,
        choices=choices(visit),
        note_limit=NOTE_LIMIT,
        **context,
    )


def alike(visit: Visit) -> Response:
    """Other cases with the same face: asked for once the case is on the screen, since every photo is looked at."""
    case_id = visit.number("case_id")
    with visit.database.reading() as session:
        case = find(session, case_id)
        blind = is_blind(visit, case)
        found = [] if blind else lookalikes.same_face(session, case_id)
        others = [find(session, one.case.case_id) for one in found]
    context: dict[str, Any] = {
        "case": case,
        "found": found,
        "blind": blind,
        "open": {other.id: other.version for other in others if other.state == "open" and not is_blind(visit, other)},
        "may_decide": visit.who.role in DECIDERS and case.state == "open",
        "reasons": visit.console.review.review_reasons,
        "choices": choices(visit),
    }
    return visit.page("alike.html", **context)


def decide(visit: Visit) -> Response:
    """Enter a decision, and go to the next case."""
    case_id = visit.number("case_id")
    with visit.database.writing() as session:
        blind = is_blind(visit, find(session, case_id))
        decision = _decision(visit, case_id, visit.number_of("version"), blind=blind)
        reviews.decide(session, decision, visit.console.review)
        audit.note(session, visit.who.name, "decided", case_id=case_id, detail=decision.decision)
    return go_next(visit, decided=case_id)


def decide_alike(visit: Visit) -> Response:
    """Enter one decision about a case and those that were ticked beside it: all of them, or none."""
    case_id = visit.number("case_id")
    chosen = {case_id: visit.number_of("version")} | _ticked(visit)
    with visit.database.writing() as session:
        if any(is_blind(visit, find(session, one)) for one in chosen):
            raise ConflictError("one of them is yours to decide blind, and by itself")
        _check_alike(session, case_id, chosen)
        decisions = [_decision(visit, one, version, blind=False) for one, version in chosen.items()]
        reviews.decide_all(session, decisions, visit.number_of("count"), visit.console.review)
        for decision in decisions:
            detail = f"{decision.decision}, with {len(decisions) - 1} alike"
            audit.note(session, visit.who.name, "decided", case_id=decision.case_id, detail=detail)
    return go_next(visit, decided=case_id)


def _check_alike(session: Session, case_id: int, chosen: Collection[int]) -> None:
    """The page offers no others; a form that somebody made by hand may."""
    alike = {found.case.case_id for found in lookalikes.same_face(session, case_id)}
    if strangers := sorted(set(chosen) - alike - {case_id}):
        raise ConflictError(f"case {strangers[0]} shows another face: it is to be decided by itself")


def _ticked(visit: Visit) -> dict[int, int]:
    """Other cases, each with the version that was seen."""
    given = {name: value for name, value in visit.form.items() if name.startswith(_ALSO)}
    found = {digits(name.removeprefix(_ALSO)): digits(value) for name, value in given.items()}
    return {one: version for one, version in found.items() if one is not None and version is not None}


def _decision(visit: Visit, case_id: int, version: int, *, blind: bool) -> Decision:
    note = visit.form.get("note", "").strip()[:NOTE_LIMIT] or None
    reason = visit.form.get("reason") or None
    return Decision(case_id, version, visit.who.name, visit.form.get("decision", ""), reason, note, blind)


def undo(visit: Visit) -> Response:
    """Take a decision back, and look at the case again."""
    case_id, lead = visit.number("case_id"), visit.who.role == "lead"
    with visit.database.writing() as session:
        reviews.undo(session, case_id, visit.number_of("version"), visit.who.name, lead=lead)
        audit.note(session, visit.who.name, "undone", case_id=case_id)
    return visit.go(f"/cases/{case_id}")


def appeal(visit: Visit) -> Response:
    """Open a decided case again, for somebody else."""
    case_id = visit.number("case_id")
    reason = visit.form.get("reason", "").strip()[:NOTE_LIMIT]
    with visit.database.writing() as session:
        reviews.appeal(session, case_id, visit.number_of("version"), visit.who.name, reason)
        audit.note(session, visit.who.name, "appealed", case_id=case_id)
    return visit.go(f"/cases/{case_id}")


def leave(visit: Visit) -> Response:
    """Let others have it."""
    case_id = visit.number("case_id")
    with visit.database.writing() as session:
        if queue.release(session, case_id, visit.who.name):
            audit.note(session, visit.who.name, "left", case_id=case_id)
    return go_next(visit, but=(case_id,)) if visit.asked("then") == "next" else visit.go("/")


def ahead(visit: Visit) -> Response:
    """The next case's photos, while this one is being looked at: kept for the same person, so that nothing waits."""
    with visit.database.writing() as session:
        found = queue.next_case(
            session,
            visit.who.name,
            policy=visit.asked("policy") or None,
            order=order_of(visit),
            lease_s=visit.console.review.review_lease_s,
            but=(visit.number("case_id"),),
        )
        if found is not None:
            photos.ask(session, found, visit.who.name)
            audit.note(session, visit.who.name, "prefetched", case_id=found)
    with visit.database.reading() as session:
        shown = photos.shown(session, found, blind=True) if found is not None else []
    return visit.page("ahead.html", case_id=found, photos=shown)


def _hold(visit: Visit, case_id: int) -> str | None:
    """Keep an open case for whoever may decide it; otherwise why they cannot."""
    if visit.who.role not in DECIDERS:
        return "Auditors read: they neither decide nor see pictures."
    try:
        with visit.database.writing() as session:
            if find(session, case_id).state == "open":
                queue.hold(session, case_id, visit.who.name, visit.console.review.review_lease_s)
    except ConflictError as error:
        return str(error)
    return None


def _seen(visit: Visit, case_id: int) -> None:
    """Before it is shown: it is in the log, and workers are asked for pictures that are missing."""
    with visit.database.writing() as session:
        blind = is_blind(visit, find(session, case_id))
        if visit.who.role in DECIDERS:
            photos.ask(session, case_id, visit.who.name)
        audit.note(session, visit.who.name, "viewed", case_id=case_id, detail="blind" if blind else None)
