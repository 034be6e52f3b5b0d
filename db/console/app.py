"""The console as one application: which page answers where, and for whom."""

from collections.abc import Callable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from db.console import words
from db.console.door import Door, Page, nobody, refused
from db.console.headers import Headers
from db.console.pages import audit, cases, health, look, overview, people, pictures, queue, samples, sign_in, thresholds
from db.console.settings import ConsoleSettings
from db.console.visit import Console
from db.console.waiting import Waiting
from db.console.working import DECIDERS
from db.review.review_settings import ReviewSettings
from db.schema import ROLES
from db.store.session import Database

LEAD = ("lead",)
READ_LOG = ("lead", "auditor")
_PICTURE = "/cases/{case_id:int}/photos/{flag_id:int}/{kind}"

PAGES = (
    Page("GET", "/healthz", health.show),
    Page("GET", "/sign-in", sign_in.show),
    Page("POST", "/sign-in", sign_in.with_password),
    Page("GET", "/link/{token}", sign_in.show_link),
    Page("POST", "/link/{token}", sign_in.with_link),
    Page("POST", "/sign-out", sign_in.out, ROLES),
    Page("GET", "/password", sign_in.show_password, ROLES),
    Page("POST", "/password", sign_in.set_password, ROLES),
    Page("GET", "/look", look.show),
    Page("POST", "/look", look.choose),
    Page("GET", "/help", look.help_page, ROLES),
    Page("GET", "/", queue.show, ROLES),
    Page("GET", "/backlog", queue.backlog, ROLES),
    Page("POST", "/next", queue.take_next, DECIDERS),
    Page("GET", "/cases/{case_id:int}", cases.show, ROLES),
    Page("GET", "/cases/{case_id:int}/alike", cases.alike, ROLES),
    Page("POST", "/cases/{case_id:int}/decide", cases.decide, DECIDERS),
    Page("POST", "/cases/{case_id:int}/decide-alike", cases.decide_alike, DECIDERS),
    Page("POST", "/cases/{case_id:int}/undo", cases.undo, DECIDERS),
    Page("POST", "/cases/{case_id:int}/appeal", cases.appeal, DECIDERS),
    Page("POST", "/cases/{case_id:int}/leave", cases.leave, DECIDERS),
    Page("POST", "/cases/{case_id:int}/ahead", cases.ahead, DECIDERS),
    Page("GET", _PICTURE, pictures.show, DECIDERS),
    Page("POST", _PICTURE, pictures.ask, DECIDERS),
    Page("GET", _PICTURE + "/box", pictures.box, DECIDERS),
    Page("GET", "/samples", samples.start, DECIDERS),
    Page("POST", "/samples/next", samples.take_next, DECIDERS),
    Page("GET", "/samples/{sample_id:int}", samples.show, DECIDERS),
    Page("GET", "/samples/{sample_id:int}/photo", samples.picture, DECIDERS),
    Page("GET", "/samples/{sample_id:int}/box", samples.box, DECIDERS),
    Page("POST", "/samples/{sample_id:int}/judge", samples.judge, DECIDERS),
    Page("GET", "/overview", overview.show, READ_LOG),
    Page("GET", "/overview/{part}", overview.part, READ_LOG),
    Page("GET", "/thresholds", thresholds.show, LEAD),
    Page("POST", "/thresholds", thresholds.apply, LEAD),
    Page("GET", "/audit", audit.show, READ_LOG),
    Page("GET", "/people", people.show, LEAD),
    Page("POST", "/people/add", people.add, LEAD),
    Page("POST", "/people/link", people.make_link, LEAD),
    Page("POST", "/people/disable", people.disable, LEAD),
    Page("POST", "/people/enable", people.enable, LEAD),
)


def build(
    database: Database, settings: ConsoleSettings, review: ReviewSettings, hosts: Sequence[str] = ("localhost",)
) -> ASGIApp:
    """The application; it answers to these names only, so that no other site's name can lead a browser here."""
    console = Console(database, settings, review, Waiting(database), _templates())
    static = Mount("/static", StaticFiles(packages=[("db.console", "static")]))
    app = Starlette(
        routes=[*(Route(page.path, Door(console, page).answer, methods=[page.method]) for page in PAGES), static],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
        exception_handlers={HTTPException: _lost(console), Exception: _broken(console)},
    )
    return Headers(app, secure=settings.secure)


def _lost(console: Console) -> Callable[[Request, Exception], Response]:
    """There is no such page, or not by this method."""

    def answer(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return refused(nobody(console, request), "There is nothing here.", status)

    return answer


def _broken(console: Console) -> Callable[[Request, Exception], Response]:
    """A fault of ours: it is in the console's own log, and says nothing here."""

    def answer(request: Request, _error: Exception) -> Response:
        return refused(nobody(console, request), "Something went wrong here; the console's log says what.", 500)

    return answer


def _templates() -> Environment:
    """Everything is escaped, and a name that is not there is a fault."""
    environment = Environment(
        loader=PackageLoader("db.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"age": words.age, "ago": words.ago, "when": words.when, "score": words.score}
    environment.filters |= {"rate": words.rate, "count": words.count}
    return environment
