"""Decisions, statements of reasons and transparency counts by period, as files and on a page."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from starlette.responses import Response, StreamingResponse

from db.access import audit
from db.compliance import decisions, statements, transparency
from db.compliance.period import Period
from db.compliance.statements import DsaSettings
from db.console.web.context import PageContext
from db.errors import DbError

_DAYS = 30
_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


def show_exports(page: PageContext) -> Response:
    """What can be downloaded, and the counts of the chosen period, once somebody asks for them: they read a lot."""
    period = _period(page)
    with page.database.reading() as session:
        counts = transparency.count_period(session, period) if page.param("since") else None
    return page.render("exports.html", period=period, counts=counts)


def download_decisions(page: PageContext) -> Response:
    """Every decision of the period. Parquet is for the command `unmask review decisions`."""
    period, form = _period(page), page.param("format") or "csv"
    if form not in _TYPES:
        raise DbError(f"format {form!r} is unknown: use {', '.join(_TYPES)}")
    with page.database.writing() as session:
        audit.log(session, page.user.name, "exported", detail=f"decisions {period}, {form}")
    return _download(_decisions(page, period, form), f"decisions.{form}", _TYPES[form])


def download_statements(page: PageContext) -> Response:
    """Statements of reasons of the period, checked, in bodies of requests of 100. Nothing is sent."""
    period, settings = _period(page), DsaSettings.load()
    with page.database.writing() as session:
        audit.log(session, page.user.name, "exported", detail=f"statements {period}")
    with page.database.reading() as session:  # whole, first: a statement that would be refused is an error page
        found = list(statements.read_statements(session, period, settings))
    lines = (f"{line}\n" for line in statements.requests(found))
    return _download(lines, "statements.jsonl", _TYPES["jsonl"])


def _decisions(page: PageContext, period: Period, form: str) -> Iterator[str]:
    """A thousand rows at a time."""
    out, written = io.StringIO(), 0
    with page.database.reading() as session:
        for row in decisions.read_decisions(session, period):
            part = io.StringIO()
            decisions.WRITERS[form]([row], part)
            text = part.getvalue()
            out.write(text.partition("\n")[2] if form == "csv" and written else text)
            written += 1
            if written % 1000 == 0:
                yield out.getvalue()
                out = io.StringIO()
    if not written:
        decisions.WRITERS[form]([], out)
    yield out.getvalue()


def _download(parts: Iterator[str], name: str, media_type: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(parts, media_type=media_type, headers=headers)


def _period(page: PageContext) -> Period:
    """The period in the URL, or the last thirty days."""
    today = datetime.now(UTC).date()
    since, until = page.param("since"), page.param("until")
    return Period.parse(since or str(today - timedelta(days=_DAYS)), until or str(today))
