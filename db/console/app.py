"""The console as one ASGI application: every route, its handler and its roles."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.convertors import register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from db.access.actors import DECIDERS
from db.console.leading import exports, quality
from db.console.lists import batch, saved_views
from db.console.pages import (
    audit,
    beside,
    case_work,
    cases,
    general,
    overview,
    people,
    pictures,
    queue,
    samples,
    sign_in,
    team,
    thresholds,
)
from db.console.settings import ConsoleSettings
from db.console.views import formatting
from db.console.web.backlog_cache import BacklogCache
from db.console.web.case_ranker import NewCaseRanker
from db.console.web.context import Console
from db.console.web.dispatch import PageEndpoint, PageRoute, anonymous_error_page
from db.console.web.forms import RowNumberConvertor
from db.console.web.headers import SecurityHeaders
from db.console.web.view_counts import ViewCounts
from db.review.settings import ReviewSettings
from db.schema import ROLES
from db.store.session import Database

if TYPE_CHECKING:
    from db.console.oidc.provider import Provider  # needs the extra "oidc"

register_url_convertor("row", RowNumberConvertor())

LEAD = ("lead",)
READ_LOG = ("lead", "auditor")
_PHOTO = "/cases/{case_id:row}/photos/{flag_id:row}"
_PICTURE = _PHOTO + "/{kind}"

ROUTES = (
    PageRoute("GET", "/healthz", general.show_health),
    PageRoute("GET", "/sign-in", sign_in.show_sign_in),
    PageRoute("POST", "/sign-in", sign_in.sign_in_by_password),
    PageRoute("GET", "/link/{token}", sign_in.show_link),
    PageRoute("POST", "/link/{token}", sign_in.sign_in_by_link),
    PageRoute("POST", "/sign-out", sign_in.sign_out, ROLES),
    PageRoute("GET", "/password", sign_in.show_password, ROLES),
    PageRoute("POST", "/password", sign_in.change_password, ROLES),
    PageRoute("GET", "/look", general.show_preferences),
    PageRoute("POST", "/look", general.save_preferences),
    PageRoute("GET", "/help", general.show_help, ROLES),
    PageRoute("GET", "/", queue.show_queue, ROLES),
    PageRoute("GET", "/backlog", queue.show_backlog, ROLES),
    PageRoute("POST", "/next", queue.open_next_case, DECIDERS),
    PageRoute("GET", "/views/{name}", queue.show_view, ROLES),
    PageRoute("POST", "/views", saved_views.submit_view, ROLES),
    PageRoute("POST", "/views/delete", saved_views.submit_deletion, ROLES),
    PageRoute("POST", "/batch", batch.preview_batch, DECIDERS),
    PageRoute("POST", "/batch/decide", batch.decide_batch, DECIDERS),
    PageRoute("GET", "/cases/{case_id:row}", cases.show_case, ROLES),
    PageRoute("GET", "/cases/{case_id:row}/alike", beside.show_lookalikes, ROLES),
    PageRoute("GET", "/cases/{case_id:row}/others", beside.show_others, DECIDERS),
    PageRoute("GET", "/cases/{case_id:row}/other", beside.show_other_picture, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/decide", cases.submit_decision, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/hold", case_work.hold_case, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/comment", case_work.submit_comment, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/restrict", case_work.submit_restriction, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/undo", cases.submit_undo, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/appeal", cases.submit_appeal, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/leave", cases.skip_case, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/ahead", cases.prefetch_next_case, DECIDERS),
    PageRoute("POST", "/cases/{case_id:row}/photos/{flag_id:row}/seen", case_work.note_seen, DECIDERS),
    PageRoute("GET", _PHOTO + "/thumb", pictures.show_thumbnail, DECIDERS),
    PageRoute("GET", _PICTURE, pictures.show_picture, DECIDERS),
    PageRoute("POST", _PICTURE, pictures.request_picture, DECIDERS),
    PageRoute("GET", _PICTURE + "/box", pictures.show_picture_box, DECIDERS),
    PageRoute("GET", "/restricted", case_work.show_restricted, LEAD),
    PageRoute("GET", "/samples", samples.show_samples, DECIDERS),
    PageRoute("POST", "/samples/next", samples.open_next_sample, DECIDERS),
    PageRoute("GET", "/samples/{sample_id:row}", samples.show_sample, DECIDERS),
    PageRoute("GET", "/samples/{sample_id:row}/photo", samples.show_sample_photo, DECIDERS),
    PageRoute("GET", "/samples/{sample_id:row}/original", samples.show_sample_original, DECIDERS),
    PageRoute("GET", "/samples/{sample_id:row}/box", samples.show_sample_box, DECIDERS),
    PageRoute("POST", "/samples/{sample_id:row}/judge", samples.submit_verdict, DECIDERS),
    PageRoute("POST", "/samples/{sample_id:row}/undo", samples.submit_undo_verdict, DECIDERS),
    PageRoute("POST", "/samples/{sample_id:row}/leave", samples.leave_sample, DECIDERS),
    PageRoute("GET", "/my-day", team.show_my_day, DECIDERS),
    PageRoute("GET", "/team", team.show_team, LEAD),
    PageRoute("POST", "/team/templates", team.submit_template, LEAD),
    PageRoute("POST", "/team/pictures", team.submit_pictures, LEAD),
    PageRoute("GET", "/overview", overview.show_overview, READ_LOG),
    PageRoute("GET", "/overview/{part}", overview.show_overview_part, READ_LOG),
    PageRoute("GET", "/thresholds", thresholds.show_thresholds, LEAD),
    PageRoute("POST", "/thresholds", thresholds.submit_threshold, LEAD),
    PageRoute("GET", "/audit", audit.show_audit_log, READ_LOG),
    PageRoute("GET", "/audit/export", audit.export_audit_log, READ_LOG),
    PageRoute("GET", "/quality", quality.show_quality, READ_LOG),
    PageRoute("POST", "/quality/share", quality.submit_share, LEAD),
    PageRoute("POST", "/quality/golden", quality.submit_golden, LEAD),
    PageRoute("GET", "/quality/me", quality.show_own_figures, DECIDERS),
    PageRoute("GET", "/quality/reviewers/{name}", quality.show_reviewer, LEAD),
    PageRoute("GET", "/policies/{name}", quality.show_policy, READ_LOG),
    PageRoute("GET", "/exports", exports.show_exports, READ_LOG),
    PageRoute("GET", "/exports/decisions", exports.download_decisions, READ_LOG),
    PageRoute("GET", "/exports/statements", exports.download_statements, READ_LOG),
    PageRoute("GET", "/people", people.show_people, LEAD),
    PageRoute("POST", "/people/add", people.submit_person, LEAD),
    PageRoute("POST", "/people/link", people.submit_link, LEAD),
    PageRoute("POST", "/people/disable", people.submit_disable, LEAD),
    PageRoute("POST", "/people/enable", people.submit_enable, LEAD),
)


def build_app(
    database: Database,
    settings: ConsoleSettings,
    review: ReviewSettings,
    hosts: Sequence[str] = ("localhost",),
    provider: "Provider | None" = None,
) -> ASGIApp:
    """Build the application. It answers only to these host names, which prevents DNS rebinding."""
    ranker, counts = NewCaseRanker(database, review), ViewCounts(database)
    console = Console(database, settings, review, BacklogCache(database), ranker, counts, provider, _templates())
    pages = (*ROUTES, *(_openid_routes() if provider is not None else ()))
    routes = [Route(route.path, PageEndpoint(console, route).answer, methods=[route.method]) for route in pages]
    app = Starlette(
        routes=[*routes, Mount("/static", StaticFiles(packages=[("db.console", "static")]))],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
        exception_handlers={
            HTTPException: _error_handler(console, "This page does not exist."),
            Exception: _error_handler(console, "The console failed. Its log has the error."),
        },
    )
    return SecurityHeaders(app, secure=settings.secure)


def _openid_routes() -> tuple[PageRoute, ...]:
    from db.console.oidc import pages

    return (
        PageRoute("GET", "/oidc/start", pages.start),
        PageRoute("GET", "/oidc/callback", pages.finish),
        PageRoute("POST", "/oidc/back-channel-logout", pages.back_channel_logout, needs_form_token=False),
    )


def _error_handler(console: Console, why: str) -> Callable[[Request, Exception], Response]:
    """Answers errors outside a handler. Starlette raises unexpected ones again afterwards, so that they are logged."""

    def answer(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        return anonymous_error_page(console, request, why, status)

    return answer


def _templates() -> Environment:
    """Jinja2 with autoescaping; an undefined variable is an error."""
    environment = Environment(
        loader=PackageLoader("db.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": formatting.format_duration,
        "age": formatting.format_age,
        "time": formatting.format_time,
        "seconds": formatting.format_seconds,
        "due": formatting.format_due,
        "score": formatting.format_score,
        "rate": formatting.format_rate,
        "estimate": formatting.format_count,
        "sentence": formatting.format_sentence,
        "clock": formatting.format_clock,
    }
    return environment
