"""From a request to its page: authorisation, the CSRF check, and the answer to each error."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from db.access import audit
from db.console.web import cookies
from db.console.web.context import Console, PageContext
from db.console.web.forms import FormError, is_form_token, read_form
from db.console.web.identity import identify
from db.errors import ConflictError, DatabaseError, DatabaseUnavailableError, DbError, DeniedError, NotFoundError

log = logging.getLogger(__name__)
CONFLICT = 409

PageHandler = Callable[[PageContext], Response]

#: The HTTP status of each kind of error; the first match counts.
_STATUS: tuple[tuple[type[DbError], int], ...] = (
    (NotFoundError, 404),
    (ConflictError, CONFLICT),
    (DeniedError, 403),
    (FormError, 413),
    (DbError, 400),
)


@dataclass(frozen=True, slots=True)
class PageRoute:
    """The handler of a method and path, and the roles that may call it; without roles anybody may."""

    method: str
    path: str
    handler: PageHandler
    roles: tuple[str, ...] = ()
    #: Whether a POST needs the form token of this browser; a machine that proves itself otherwise has none.
    needs_form_token: bool = True


class PageEndpoint:
    """Authorises requests of one route, calls its handler, and turns errors into pages."""

    def __init__(self, console: Console, route: PageRoute) -> None:
        self._console = console
        self._route = route

    async def answer(self, request: Request) -> Response:
        """Answer a request, in a thread of its own, since handlers use blocking SQL."""
        try:
            timeout_s = self._console.settings.console_form_timeout_s
            fields = await read_form(request, timeout_s) if self._route.method == "POST" else {}
        except FormError as error:
            return anonymous_error_page(self._console, request, str(error), 413)
        try:
            return await run_in_threadpool(self._answer, request, fields)
        except DatabaseUnavailableError:
            log.exception("the database is unavailable")  # logged only: the message has the database's address
            why = "The database is unavailable, and nothing was saved. Try again in a moment."
            return anonymous_error_page(self._console, request, why, 503)

    def _answer(self, request: Request, fields: dict[str, str]) -> Response:
        settings = self._console.settings
        token = cookies.read_cookie(request, cookies.SIGN_IN, secure=settings.secure)
        signed_in = identify(self._console.database, settings, request)
        anonymous = cookies.read_cookie(request, cookies.ANONYMOUS, secure=settings.secure)
        seed = token if signed_in and token else anonymous
        page = PageContext(self._console, request, signed_in, seed or cookies.new_anonymous_seed(), fields)
        response = self._handle(page)
        if seed is None:
            cookies.set_cookie(response, cookies.ANONYMOUS, page.csrf_seed, secure=settings.secure)
        return response

    def _handle(self, page: PageContext) -> Response:
        try:
            return self._refusal(page) or self._route.handler(page)
        except DatabaseError:
            raise
        except DbError as error:
            return error_page(page, str(error), status_of(error))

    def _refusal(self, page: PageContext) -> Response | None:
        if self._route.roles and page.signed_in is None:
            return _not_signed_in(page)
        protected = self._route.method == "POST" and self._route.needs_form_token
        if protected and not is_form_token(page.form.get("form_token", ""), page.csrf_seed):
            return error_page(page, "This form is older than your sign-in, or not from this console. Reload it.", 403)
        if self._route.roles and page.user.role not in self._route.roles:
            with page.database.writing() as session:
                audit.log(session, page.user.name, "refused", detail=f"{self._route.method} {self._route.path}")
            return error_page(page, f"Your role, {page.user.role}, may not open this page.", 403)
        return None


def status_of(error: DbError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def error_page(page: PageContext, why: str, status: int) -> Response:
    """A page that says why a request failed; it repeats a note that came with the form, so that nothing is lost."""
    if page.request.headers.get("hx-request"):  # a part of a page, which must not become a page within the page
        return page.render("part_error.html", status, why=why)
    case_id = page.request.path_params.get("case_id")
    again = f"/cases/{case_id}" if status == CONFLICT and case_id is not None else None
    return page.render("error.html", status, why=why, status=status, again=again, kept=page.form.get("note"))


def anonymous_error_page(console: Console, request: Request, why: str, status: int) -> Response:
    """An error page outside a handler, where neither the person nor the form is known."""
    return error_page(PageContext(console, request, None, cookies.new_anonymous_seed()), why, status)


def _not_signed_in(page: PageContext) -> Response:
    if page.console.settings.console_trusted_header:
        return error_page(page, "The proxy in front of this console did not name anybody who may sign in.", 403)
    if page.request.method == "POST":
        return error_page(page, "You are no longer signed in, and nothing was saved.", 401)
    url = page.request.url
    wanted = url.path + (f"?{url.query}" if url.query else "")
    return page.redirect(f"/sign-in?{urlencode({'next': wanted})}")
