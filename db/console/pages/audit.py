"""For auditors and leads: who saw and did what."""

from starlette.responses import Response

from db.access import audit
from db.console.visit import Visit, digits


def show(visit: Visit) -> Response:
    """The log, the latest first, a page at a time. Reading it is in it, too."""
    who, what = visit.asked("who").strip(), visit.asked("what").strip()
    case_id, before = digits(visit.asked("case")), digits(visit.asked("before"))
    rows = visit.console.settings.console_rows
    with visit.database.reading() as session:
        found = audit.entries(session, rows + 1, before=before, who=who or None, what=what or None, case_id=case_id)
    with visit.database.writing() as session:
        audit.note(session, visit.who.name, "read_audit_log", detail=_filters(who, what, case_id))
    last = found[rows - 1].id if len(found) > rows else None
    return visit.page("audit.html", entries=found[:rows], who=who, what=what, case=case_id, before=last)


def _filters(who: str, what: str, case_id: int | None) -> str | None:
    given = {"who": who, "what": what, "case": case_id}
    return ", ".join(f"{name} {value}" for name, value in given.items() if value) or None
