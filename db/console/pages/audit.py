"""For auditors and leads: who saw and did what, by person, action, case and day; and the same as a file."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

from starlette.responses import Response, StreamingResponse

from db.access import audit
from db.access.actions import code_of, in_words
from db.access.audit import EntryFilter
from db.console.views.audit_lines import AuditLine
from db.console.web.context import PageContext
from db.console.web.forms import parse_row_number
from db.errors import DbError
from db.schema import AuditEntry

_PARAMETERS = ("who", "what", "case", "since", "until")
_COLUMNS = ("at", "who", "action", "case", "image", "login", "detail")


def show_audit_log(page: PageContext) -> Response:
    """A page of the audit log, newest first. Reading the log is logged too."""
    wanted, given = _wanted(page), _given(page)
    rows = page.console.settings.console_rows
    with page.database.reading() as session:
        found = audit.find_entries(session, wanted, rows + 1)
        people, actions = audit.known_people(session), {code: in_words(code) for code in audit.known_actions(session)}
    with page.database.writing() as session:
        audit.log(session, page.user.name, "read_audit_log", detail=_described(given))
    last = found[rows - 1].id if len(found) > rows else None
    lines = [AuditLine.of(entry) for entry in found[:rows]]
    by_words = sorted(actions.items(), key=lambda action: action[1])
    return page.render("audit.html", lines=lines, given=given, people=people, actions=by_words, before=last)


def export_audit_log(page: PageContext) -> Response:
    """All entries that match the filters, as CSV."""
    wanted, given = _wanted(page), _given(page)
    with page.database.writing() as session:
        audit.log(session, page.user.name, "exported", detail=f"audit log, {_described(given) or 'all'}")
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
    return StreamingResponse(_file(page, wanted), media_type="text/csv; charset=utf-8", headers=headers)


def _file(page: PageContext, wanted: EntryFilter) -> Iterator[str]:
    with page.database.reading() as session:
        yield from csv_lines(_COLUMNS, (_row(entry) for entry in audit.all_entries(session, wanted)))


def csv_lines(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """CSV, a line at a time; a text that a spreadsheet would calculate gets an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _row(entry: AuditEntry) -> tuple[object, ...]:
    at = entry.created_at.isoformat()
    return (at, entry.who, entry.what, entry.case_id, entry.image_id, entry.login, entry.detail)


def _given(page: PageContext) -> dict[str, str]:
    given = {name: page.param(name).strip() for name in _PARAMETERS}
    return given | {"what": code_of(given["what"])}


def _wanted(page: PageContext) -> EntryFilter:
    given = _given(page)
    since, until = (_day(name, given[name]) for name in ("since", "until"))
    case_id = parse_row_number(given["case"])
    if given["case"] and case_id is None:
        raise DbError(f"case {given['case']!r} is not the number of a case")
    return EntryFilter(
        given["who"] or None,
        given["what"] or None,
        case_id,
        since=since,
        until=until + timedelta(days=1) if until is not None else None,
        before=parse_row_number(page.param("before")),
    )


def _day(name: str, text: str) -> datetime | None:
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError as error:
        raise DbError(f"{name} {text!r} is not a day such as 2026-01-31") from error
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day is not None else None


def _described(given: dict[str, str]) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in given.items() if value) or None
