"""Every page's door: who may come in, that a form is this page's own, and what is said when something is refused."""

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from db.access import audit
from db.console import cookies, form
from db.console.form import FormError
from db.console.identity import identify
from db.console.visit import Console, Visit
from db.errors import ConflictError, DatabaseAwayError, DatabaseError, DbError, DeniedError, NotFoundError

log = logging.getLogger(__name__)
CONFLICT = 409

Handler = Callable[[Visit], Response]

#: What is answered to each kind of error; the first that fits.
_STATUS: tuple[tuple[type[DbError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, CONFLICT),
    (DeniedError, 403),
    (FormError, 413),
    (DbError, 400),
)


@dataclass(frozen=True, slots=True)
class Page:
    """What answers at a path, and who may ask; no roles: anybody."""

    method: str
    path: str
    handler: Handler
    roles: tuple[str, ...] = ()


class Door:
    """Lets a request in to its page, or says why not."""

    def __init__(self, console: Console, page: Page) -> None:
        self._console = console
        self._page = page

    async def answer(self, request: Request) -> Response:
        """Pages use SQL as everything here does, and so have a thread of their own."""
        try:
            fields = await form.read(request) if self._page.method == "POST" else {}
        except FormError as error:
            return refused(nobody(self._console, request), str(error), 413)
        try:
            return await run_in_threadpool(self._answer, request, fields)
        except DatabaseAwayError:
            log.exception("no page without its database")  # whose address is nobody's business
            return refused(nobody(self._console, request), "Nothing was saved. Try again in a moment.", 503)

    def _answer(self, request: Request, fields: dict[str, str]) -> Response:
        settings = self._console.settings
        token = cookies.get(request, cookies.SIGN_IN, secure=settings.secure)
        signed = identify(self._console.database, settings, request)
        seed = token if signed and token else cookies.get(request, cookies.VISIT, secure=settings.secure)
        visit = Visit(self._console, request, signed, seed or cookies.new_visit(), fields)
        response = self._let_in(visit)
        if seed is None:
            cookies.give(response, cookies.VISIT, visit.seed, secure=settings.secure)
        return response

    def _let_in(self, visit: Visit) -> Response:
        try:
            return self._stopped(visit) or self._page.handler(visit)
        except DatabaseError:
            raise
        except DbError as error:
            status = next(status for kind, status in _STATUS if isinstance(error, kind))
            return refused(visit, str(error), status)

    def _stopped(self, visit: Visit) -> Response | None:
        if self._page.roles and visit.signed is None:
            return _sign_in_first(visit)
        if self._page.method == "POST" and not _is_ours(visit):
            return refused(visit, "This form is not from this page, or older than your sign-in: open it again.", 403)
        if self._page.roles and visit.who.role not in self._page.roles:
            with visit.database.writing() as session:
                audit.note(session, visit.who.name, "refused", detail=f"{self._page.method} {self._page.path}")
            return refused(visit, f"This is not for a {visit.who.role}.", 403)
        return None


def refused(visit: Visit, why: str, status: int) -> Response:
    """A page that says why not; what somebody wrote is not lost with it."""
    case_id = visit.request.path_params.get("case_id")
    again = f"/cases/{case_id}" if status == CONFLICT and case_id is not None else None
    return visit.page("refused.html", status, why=why, status=status, again=again, kept=visit.form.get("note"))


def nobody(console: Console, request: Request) -> Visit:
    """A visit of which nothing is known, for answers that need nothing."""
    return Visit(console, request, None, cookies.new_visit())


def _is_ours(visit: Visit) -> bool:
    given = visit.form.get("form_token", "").encode()
    return hmac.compare_digest(given, cookies.form_token(visit.seed).encode())


def _sign_in_first(visit: Visit) -> Response:
    if visit.console.settings.console_trusted_header:
        return refused(visit, "The proxy in front of this console named nobody who may come in.", 403)
    if visit.request.method == "POST":
        return refused(visit, "You are not signed in any more, and nothing was saved.", 401)
    url = visit.request.url
    asked = url.path + (f"?{url.query}" if url.query else "")
    return visit.go(f"/sign-in?{urlencode({'next': asked})}")
