"""The page of a case: everything that a reviewer needs to decide it, and the forms by which they do."""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.access.actors import DECIDERS
from db.console.pages.queue import go_to_next_case, lease_next_case
from db.console.views import appeals, case_photos, links
from db.console.views.keys import CASE
from db.console.views.reviewer import (
    decides_blind,
    queue_options,
    require_free,
    shown_pictures,
    undo_of,
    undoable_case,
)
from db.console.web.context import PageContext
from db.console.web.dispatch import status_of
from db.console.web.forms import parse_row_number
from db.errors import ConflictError, DatabaseError, DbError, DeniedError, NotFoundError
from db.review import case_context, case_queue, lookalikes, reviews, team
from db.review.case_timeline import case_timeline
from db.review.cases import account_history, get_case
from db.review.effective_reviews import effective_reviews
from db.review.restrictions import RESTRICTIONS, may_handle
from db.review.reviews import FINAL_DECISIONS, Decision
from db.schema import Case

NOTE_LIMIT = 4000
#: Form fields "also-CASE" name the other cases to decide, or undo, together with this one.
ALSO = "also-"


def show_case(page: PageContext) -> Response:
    """Show a case. Looking takes it from nobody: it becomes a reviewer's once they begin to work on it."""
    case_id = page.path_number("case_id")
    _log_view(page, case_id)
    return _render(page, case_id)


def _render(page: PageContext, case_id: int, problem: DbError | None = None) -> Response:
    """The page, also after a refusal: with what went wrong, and all that the reviewer had filled in."""
    with page.database.reading() as session:
        case = get_case(session, case_id)
        context = _context(session, page, case)
    context["given"] = page.form if problem is not None else {}
    code = status_of(problem) if problem is not None else 200
    return page.render("case.html", code, problem=str(problem) if problem is not None else None, **context)


def _context(session: Session, page: PageContext, case: Case) -> dict[str, Any]:
    blind = decides_blind(session, page, case)
    decides = page.user.role in DECIDERS
    why_not = _why_not(session, page, case)
    facts, facts_at = case_context.account_facts(session, case.account_id)
    return {
        "case": case,
        "blind": blind,
        "why_not": why_not,
        "mine": case.held_by == page.user.name and why_not is None,
        "photos": case_photos.list_case_photos(session, case.id, blind=blind),
        "events": case_timeline(session, case.id, blind=blind),
        "history": account_history(session, case),
        "undo": undo_of(session, case, page),
        "decided": undoable_case(session, page),
        "appeal": appeals.open_appeal(session, page.console.review, case),
        "comments": case_context.list_comments(session, case.id),
        "facts": facts,
        "facts_at": facts_at,
        "templates": team.list_templates(session),
        "pictures": shown_pictures(session, page, case.policy),
        "pixels": decides and may_handle(session, case, page.user.name),
        "may_decide": decides and why_not is None and case.state == "open",
        "may_appeal": decides and case.state in FINAL_DECISIONS and case.account_id is not None,
        "may_write": decides and case.account_id is not None,
        "may_restrict": decides and case.state == "open" and may_handle(session, case, page.user.name),
        "restrictions": RESTRICTIONS,
        "links": links.case_links(page.console.settings, case),
        "reasons": page.console.review.review_reasons,
        "options": queue_options(page),
        "note_limit": NOTE_LIMIT,
        "page_keys": CASE,
        "also": ALSO,
        "alike_query": _alike_query(page),
    }


def _why_not(session: Session, page: PageContext, case: Case) -> str | None:
    """Why this person may not decide an open case."""
    if page.user.role not in DECIDERS:
        return "auditors only read: they do not decide cases and do not see pictures"
    try:
        if case.state == "open":
            require_free(session, page, case)
    except (ConflictError, DeniedError) as error:
        return str(error)
    return None


def submit_decision(page: PageContext) -> Response:
    """Record a decision about a case, and about the copies that were selected, and go to the next case."""
    case_id = page.path_number("case_id")
    try:
        with page.database.writing() as session:
            _decide(session, page, case_id)
    except (DatabaseError, NotFoundError):
        raise
    except DbError as error:
        return _render(page, case_id, error)
    return go_to_next_case(page, decided=case_id)


def _decide(session: Session, page: PageContext, case_id: int) -> None:
    chosen = {case_id: page.form_number("version")} | selected(page)
    blind = {one for one in chosen if decides_blind(session, page, get_case(session, one))}
    if len(chosen) > 1:
        _check_together(session, case_id, chosen, blind)
    decisions = [_decision(page, one, version, blind=one in blind) for one, version in chosen.items()]
    _check_seen(session, page, decisions)
    reviews.decide_cases(session, decisions, len(decisions), page.console.review)
    for decision in decisions:
        detail = decision.decision + (f", with {len(decisions) - 1} alike" if len(decisions) > 1 else "")
        audit.log(session, page.user.name, "decided", case_id=decision.case_id, detail=detail)


def _check_together(session: Session, case_id: int, chosen: Collection[int], blind: Collection[int]) -> None:
    """The page offers only copies, but a request made by hand may name other cases."""
    if blind:
        raise ConflictError(f"case {min(blind)} is one that you decide blind: decide it separately")
    alike = {found.case.case_id for found in lookalikes.find_lookalikes(session, case_id)}
    if strangers := sorted(set(chosen) - alike - {case_id}):
        raise ConflictError(f"case {strangers[0]} has no copy of these photos: decide it separately")


def _check_seen(session: Session, page: PageContext, decisions: Collection[Decision]) -> None:
    """Whoever says what a photo is has had it on the screen. "Unsure" says nothing of the photo."""
    for decision in decisions:
        final = decision.decision in FINAL_DECISIONS
        if final and not audit.has_seen_photo(session, page.user.name, decision.case_id):
            raise ConflictError(
                f"no photo of case {decision.case_id} has been on your screen: wait for it, or choose Unsure"
            )


def selected(page: PageContext) -> dict[int, int]:
    """``{other case: version that the reviewer saw}`` of the selected cases."""
    given = {name: value for name, value in page.form.items() if name.startswith(ALSO)}
    found = {parse_row_number(name.removeprefix(ALSO)): parse_row_number(value) for name, value in given.items()}
    return {one: version for one, version in found.items() if one is not None and version is not None}


def _alike_query(page: PageContext) -> Mapping[str, str]:
    """The ticks of a refused form, which the fragment of copies shows again."""
    return {name: value for name, value in page.form.items() if name.startswith(ALSO)}


def _decision(page: PageContext, case_id: int, version: int, *, blind: bool) -> Decision:
    note = page.form.get("note", "").strip()[:NOTE_LIMIT] or None
    reason = page.form.get("reason") or None
    return Decision(case_id, version, page.user.name, page.form.get("decision", ""), reason, note, blind)


def submit_undo(page: PageContext) -> Response:
    """Undo the last decision, and those that were made together with it; the case is this person's again.

    Cases that were decided together in the queue are undone there, and then are nobody's.
    """
    case_id, lead = page.path_number("case_id"), page.user.role == "lead"
    to_queue = page.form.get("then") == "queue" and not page.form.get("only")
    try:
        with page.database.writing() as session:
            undone = {case_id: page.form_number("version")} | ({} if page.form.get("only") else selected(page))
            reviews.undo_decisions(session, undone, page.user.name, lead=lead)
            for one in sorted(undone):
                detail = f"with {len(undone) - 1} others" if len(undone) > 1 else None
                audit.log(session, page.user.name, "undone", case_id=one, detail=detail)
            if not to_queue:
                _keep(session, page, case_id)
    except (DatabaseError, NotFoundError):
        raise
    except DbError as error:
        return _render(page, case_id, error)
    return page.redirect("/" if to_queue else f"/cases/{case_id}")


def _keep(session: Session, page: PageContext, case_id: int) -> None:
    """Whoever undoes a decision works on the case; unless another of their decisions bars them."""
    mine = any(each.reviewer == page.user.name for each in effective_reviews(session, case_id))
    if not mine and get_case(session, case_id).state == "open":
        case_queue.acquire_case(session, case_id, page.user.name, page.console.review.review_lease_s)


def submit_appeal(page: PageContext) -> Response:
    """Reopen a decided case for another reviewer."""
    case_id = page.path_number("case_id")
    reason = page.form.get("why", "").strip()[:NOTE_LIMIT]
    try:
        with page.database.writing() as session:
            reviews.appeal_decision(session, case_id, page.form_number("version"), page.user.name, reason)
            audit.log(session, page.user.name, "appealed", case_id=case_id)
    except (DatabaseError, NotFoundError):
        raise
    except DbError as error:
        return _render(page, case_id, error)
    return page.redirect(f"/cases/{case_id}")


def skip_case(page: PageContext) -> Response:
    """Release a case and go to the next one; or release all cases, also those leased ahead, and go to the queue."""
    case_id, onward = page.path_number("case_id"), page.param("then") == "next"
    with page.database.writing() as session:
        if onward:
            released = [case_id] if case_queue.release_case(session, case_id, page.user.name) else []
        else:
            released = case_queue.release_all(session, page.user.name)
        for one in released:
            audit.log(session, page.user.name, "left", case_id=one)
    return go_to_next_case(page, excluding=(case_id,)) if onward else page.redirect("/")


def prefetch_next_case(page: PageContext) -> Response:
    """The photos of the next case, leased to the same reviewer while they look at this one, so that they never wait."""
    with page.database.writing() as session:
        found = lease_next_case(session, page, excluding=(page.path_number("case_id"),))
        if found is not None:
            case_photos.request_photos(session, found, page.user.name)
            audit.log(session, page.user.name, "prefetched", case_id=found)
    with page.database.reading() as session:
        photos = case_photos.list_case_photos(session, found, blind=True) if found is not None else []
    return page.render("prefetched.html", case_id=found, photos=photos)


def _log_view(page: PageContext, case_id: int) -> None:
    """Before the case is shown: log the view, and request missing pictures from workers."""
    with page.database.writing() as session:
        case = get_case(session, case_id)
        blind = decides_blind(session, page, case)
        if page.user.role in DECIDERS and may_handle(session, case, page.user.name):
            case_photos.request_photos(session, case_id, page.user.name)
        audit.log(session, page.user.name, "viewed", case_id=case_id, detail="blind" if blind else None)
