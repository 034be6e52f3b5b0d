"""The context of one request, which every page function takes: who asks, what they sent, and how to answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from db.access.sign_ins import SignedInPerson
from db.console.settings import ConsoleSettings
from db.console.web import cookies
from db.console.web.backlog_cache import BacklogCache
from db.console.web.case_ranker import NewCaseRanker
from db.console.web.cookies import DisplayPreferences
from db.console.web.forms import FormError, form_token, parse_row_number
from db.console.web.view_counts import ViewCounts
from db.errors import DeniedError, NotFoundError
from db.review.settings import ReviewSettings
from db.store import locks
from db.store.session import Database

if TYPE_CHECKING:
    from db.console.oidc.provider import Provider  # needs the extra "oidc"


#: The lock of the worker that sends work to the others: while any worker runs, one has it.
RELAY_LOCK = "sweeper"


@dataclass(frozen=True, slots=True)
class Console:
    """What all requests share: database, settings, the backlog and templates."""

    database: Database
    settings: ConsoleSettings
    review: ReviewSettings
    backlog: BacklogCache
    rank_new_cases: NewCaseRanker
    count_view: ViewCounts
    provider: "Provider | None"
    templates: Environment


@dataclass(frozen=True, slots=True)
class PageContext:
    """A request by a signed-in person, or by nobody yet."""

    console: Console
    request: Request
    signed_in: SignedInPerson | None
    #: The secret of this browser from which form tokens derive: its sign-in token, or its anonymous seed.
    csrf_seed: str
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def user(self) -> SignedInPerson:
        """The signed-in person, on pages with roles; raises `DeniedError` if there is none."""
        if self.signed_in is None:
            raise DeniedError("nobody is signed in")
        return self.signed_in

    @property
    def database(self) -> Database:
        """The database, from `Console`."""
        return self.console.database

    @property
    def preferences(self) -> DisplayPreferences:
        """The display preferences of this browser."""
        cookie = cookies.read_cookie(self.request, cookies.PREFERENCES, secure=self.console.settings.secure)
        return DisplayPreferences.parse(cookie)

    def path_number(self, name: str) -> int:
        """A row's id in the path; raises `NotFoundError` for a number that no row can have."""
        number = parse_row_number(str(self.request.path_params[name]))
        if number is None:
            raise NotFoundError(f"{self.request.url.path} does not exist")
        return number

    def form_number(self, name: str) -> int:
        """A number in the form; raises `FormError`."""
        number = parse_row_number(self.form.get(name, ""))
        if number is None:
            raise FormError(f"the form's field {name} is not a number")
        return number

    def param(self, name: str) -> str:
        """A parameter of the form or of the URL; "" if there is none."""
        return self.form.get(name) or self.request.query_params.get(name, "").replace("\0", "")

    def render(self, template: str, code: int = 200, **context: Any) -> HTMLResponse:
        """Render a template: a page, or a fragment of one."""
        chosen = self.preferences.pictures
        shared = {
            "signed_in": self.signed_in,
            "preferences": self.preferences,
            "pictures": "plain" if chosen == "team" else chosen,
            "page_keys": (),
            "worker_runs": self._worker_runs,
            "form_token": form_token(self.csrf_seed),
            "here": self.request.url.path,
            "count_backlog": self.console.backlog,
            "by_openid": self.console.provider is not None,
            "by_proxy": bool(self.console.settings.console_trusted_header),
        }
        return HTMLResponse(self.console.templates.get_template(template).render(shared | context), code)

    def _worker_runs(self) -> bool:
        """Whether a worker sends work at present: pages ask only while they wait for one."""
        with self.database.reading() as session:
            return locks.holder(session, RELAY_LOCK) is not None

    @staticmethod
    def redirect(path: str) -> RedirectResponse:
        """Redirect to another page of the console, by GET."""
        return RedirectResponse(path, status_code=303)
