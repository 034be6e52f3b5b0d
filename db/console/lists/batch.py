"""Deciding several cases of the list together: first a page that shows them, then all of them or none."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.console.views import case_photos
from db.console.views.case_lines import why_none_together
from db.console.views.case_photos import CasePhoto
from db.console.web.context import PageContext
from db.console.web.forms import FormError, parse_row_number
from db.errors import ConflictError, DbError
from db.review import reviews
from db.review.reviews import Decision
from db.schema import AuditEntry, Case

#: Form fields "case-ID" name the selected cases, each with the version that the person saw.
_CASE = "case-"
#: More cases on one page are no longer looked at one by one.
MAX_CASES = 50
_NOTE_LIMIT = 4000


@dataclass(frozen=True, slots=True)
class SelectedCase:
    """A selected case with its photos, and why it cannot be decided with the others."""

    case: Case
    photos: list[CasePhoto]
    why_not: str | None


def preview_batch(page: PageContext) -> Response:
    """Show the selected cases with their photos, before anything is decided."""
    chosen = _chosen(page)
    with page.database.writing() as session:
        for case_id in chosen:
            case_photos.request_photos(session, case_id, page.user.name)
        audit.log(session, page.user.name, "previewed_batch", detail=f"{len(chosen)} cases")
    return _render(page, chosen)


def decide_batch(page: PageContext) -> Response:
    """Record one decision about all selected cases, or about none; a refusal shows the selection again."""
    chosen = _chosen(page)
    try:
        with page.database.writing() as session:
            _require_seen(session, page, chosen)
            decisions = [_decision(page, case_id, version) for case_id, version in chosen.items()]
            reviews.decide_cases(session, decisions, len(decisions), page.console.review)
            for made in decisions:
                detail = f"{made.decision}, with {len(decisions) - 1} more"
                audit.log(session, page.user.name, "decided", case_id=made.case_id, detail=detail)
    except (ConflictError, DbError) as error:
        return _render(page, chosen, wrong=str(error))
    return page.redirect(f"/?decided={min(chosen)}")


def _chosen(page: PageContext) -> dict[int, int]:
    """``{case: version}``; raises `FormError` for none, or too many."""
    given = {name.removeprefix(_CASE): value for name, value in page.form.items() if name.startswith(_CASE)}
    found = {parse_row_number(name): parse_row_number(value) for name, value in given.items()}
    chosen = {one: version for one, version in found.items() if one is not None and version is not None}
    if not chosen:
        raise DbError("no case is selected: tick the cases that you want to decide together")
    if len(chosen) > MAX_CASES:
        raise FormError(f"{len(chosen)} cases are selected: decide at most {MAX_CASES} together")
    return dict(sorted(chosen.items()))


def _render(page: PageContext, chosen: Mapping[int, int], wrong: str | None = None) -> Response:
    with page.database.reading() as session:
        cases = list(session.scalars(select(Case).where(Case.id.in_(chosen)).order_by(Case.id)))
        why_not = why_none_together(session, page, cases)
        stale = {case.id: "it has changed since: open it" for case in cases if case.version != chosen[case.id]}
        lines = [_line(session, case, (stale | why_not).get(case.id)) for case in cases]
    return page.render(
        "batch.html",
        409 if wrong else 200,
        lines=lines,
        chosen=chosen,
        wrong=wrong,
        reasons=page.console.review.review_reasons,
        reason=page.form.get("reason", ""),
        note=page.form.get("note", ""),
        note_limit=_NOTE_LIMIT,
    )


def _line(session: Session, case: Case, why_not: str | None) -> SelectedCase:
    """A case that cannot be decided here shows no photo: it may be one that this person decides blind."""
    photos = case_photos.list_case_photos(session, case.id, blind=True) if why_not is None else []
    return SelectedCase(case, photos, why_not)


def _require_seen(session: Session, page: PageContext, chosen: Mapping[int, int]) -> None:
    """Raises `ConflictError` for a case that this person cannot decide here, or whose photo they have not seen."""
    cases = list(session.scalars(select(Case).where(Case.id.in_(chosen)).order_by(Case.id)))
    for case_id, why in why_none_together(session, page, cases).items():
        raise ConflictError(f"case {case_id}: {why}; nothing was decided")
    mine = select(AuditEntry.case_id).where(AuditEntry.who == page.user.name, AuditEntry.what == "saw_photo")
    seen = set(session.scalars(mine.where(AuditEntry.case_id.in_(chosen))))
    if unseen := sorted(set(chosen) - seen):
        raise ConflictError(f"you have not seen the photo of case {unseen[0]}; nothing was decided")


def _decision(page: PageContext, case_id: int, version: int) -> Decision:
    note = page.form.get("note", "").strip()[:_NOTE_LIMIT] or None
    reason = page.form.get("reason") or None
    return Decision(case_id, version, page.user.name, page.form.get("decision", ""), reason, note, blind=False)
