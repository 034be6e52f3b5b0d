"""The queue: cases by expected value, filters, saved views, and the way to the next case."""

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit, people
from db.console.lists.search import show_search
from db.console.views.case_lines import CaseLine, case_lines
from db.console.views.keys import QUEUE
from db.console.views.reviewer import hidden_scores, queue_options, queue_order, undoable_case
from db.console.views.thumbnails import request_thumbnails
from db.console.web.context import PageContext
from db.console.web.forms import parse_row_number
from db.file_signals import TITLES
from db.models import versions
from db.policy.policies import list_policies
from db.queue import saved_views
from db.queue.case_filter import COUNTED, PARAMETERS, TELLING, CaseFilter, find_cases, known_generators
from db.review import case_queue
from db.schema import Person

#: Views that everybody has: their names and queries.
_STANDARD = (
    ("Open", ""),
    ("Appealed", "appealed=yes"),
    ("Due soon or late", "due=soon"),
    ("Unstable", "unstable=yes"),
    ("Reviewers disagree", "state=all&disagreed=yes"),
    ("Decided by me", "state=all&decided_by=me&order=age"),
)


@dataclass(frozen=True, slots=True)
class ViewLink:
    """A view above the list: its name, query and count ("more than 10,000" above that); ``own`` ones can be deleted."""

    name: str
    query: str
    count: str
    here: bool
    view_id: int | None = None
    shared_by: str | None = None
    may_delete: bool = False


def show_queue(page: PageContext) -> Response:
    """A page of cases that match the filters; or what a search finds."""
    if page.param("q").strip() or page.param("account").strip():
        return show_search(page)
    page.console.rank_new_cases()
    wanted = CaseFilter.parse(_given(page), page.user.name)
    rows, after = page.console.settings.console_rows, parse_row_number(page.param("after"))
    with page.database.reading() as session:
        found = find_cases(session, wanted, rows + 1, after)
        lines = case_lines(session, page, found[:rows])
        context: dict[str, Any] = {
            "lines": _shown(lines, wanted),
            "done": undoable_case(session, page),
            "policies": [policy.name for policy in list_policies(session)],
            "people": _people(session),
            "models": [version.name for version in versions.list_versions(session)],
            "generators": known_generators(session),
            "views": _views(session, page),
        }
    with page.database.writing() as session:
        audit.log(session, page.user.name, "listed", detail=f"{len(context['lines'])} cases")
        request_thumbnails(session, [line.thumbnail for line in context["lines"]], page.user.name)
    return page.render(
        "queue.html",
        next_page=_url(_given(page) | {"after": str(found[rows - 1].case.id)}) if len(found) > rows else None,
        wanted=wanted,
        given=_given(page),
        active=_removals(_given(page)),
        query=urlencode(_given(page)),
        signals=TITLES,
        hides_blind=_hides_blind(page, wanted),
        by_age=_url(_all_by_age(page)),
        options=queue_options(page),
        page_keys=QUEUE,
        nothing_free=bool(page.param("none")),
        filtered=bool({name for name in _given(page) if name != "order"}),
        **context,
    )


def show_view(page: PageContext) -> Response:
    """Go to the filters that are saved under a name."""
    with page.database.reading() as session:
        view = saved_views.find_view(session, page.user.name, str(page.request.path_params["name"]))
        return page.redirect(f"/?{view.query}" if view.query else "/")


def show_backlog(page: PageContext) -> Response:
    """The backlog at the top of each page, which pages reload every 30 s."""
    return page.render("backlog.html")


def open_next_case(page: PageContext) -> Response:
    """Lease the next case to this reviewer, and show it."""
    return go_to_next_case(page)


def go_to_next_case(page: PageContext, *, decided: int | None = None, excluding: tuple[int, ...] = ()) -> Response:
    """Lease the next case and go there, or to the queue when no case is free."""
    with page.database.writing() as session:
        case_id = lease_next_case(session, page, excluding)
    params = queue_options(page)
    params |= {"decided": str(decided)} if decided is not None else {}
    params |= {"none": "1"} if case_id is None else {}
    path = f"/cases/{case_id}" if case_id is not None else "/"
    return page.redirect(f"{path}?{urlencode(params)}" if params else path)


def lease_next_case(session: Session, page: PageContext, excluding: tuple[int, ...]) -> int | None:
    """Lease the next case by this request's queue options; its id, or None when no case is free."""
    page.console.rank_new_cases.rank(session)
    return case_queue.next_case(
        session,
        page.user.name,
        policy=page.param("policy") or None,
        order=queue_order(page),
        lease_s=page.console.review.review_lease_s,
        excluding=excluding,
        hidden=lambda found: hidden_scores(session, page, found),
    )


def _given(page: PageContext) -> dict[str, str]:
    """The filters in the URL."""
    return {name: page.param(name) for name in PARAMETERS if page.param(name)}


def _removals(given: dict[str, str]) -> dict[str, str]:
    """For each filter in use, and an order, the URL without it."""
    return {name: _url({other: value for other, value in given.items() if other != name}) for name in given}


def _all_by_age(page: PageContext) -> dict[str, str]:
    """The filters in the URL, without those that tell of photos."""
    return {name: value for name, value in _given(page).items() if name not in TELLING} | {"order": "age"}


def _url(params: dict[str, str]) -> str:
    return "/?" + urlencode(params)


def _shown(lines: list[CaseLine], wanted: CaseFilter) -> list[CaseLine]:
    """Without the cases that this person decides blind, if their place would tell what they must not learn."""
    return [line for line in lines if not line.blind] if _tells(wanted) else lines


def _hides_blind(page: PageContext, wanted: CaseFilter) -> bool:
    return _tells(wanted) and page.console.review.blind_share > 0 and page.user.role != "auditor"


def _tells(wanted: CaseFilter) -> bool:
    return wanted.order != "age" or wanted.tells_of_photos


def _people(session: Session) -> list[Person]:
    return [person for person in people.list_people(session) if person.role != "auditor"]


def _views(session: Session, page: PageContext) -> list[ViewLink]:
    saved = saved_views.list_views(session, page.user.name)
    standard = [_link(page, name, query) for name, query in _STANDARD]
    return standard + [
        replace(
            _link(page, view.name, view.query),
            view_id=view.id,
            shared_by=view.author if view.author != page.user.name else None,
            may_delete=view.author == page.user.name or page.user.role == "lead",
        )
        for view in saved
    ]


def _link(page: PageContext, name: str, query: str) -> ViewLink:
    given = dict(parse_qsl(query))
    counted = page.console.count_view(CaseFilter.parse(given, page.user.name))
    count = f"more than {COUNTED:,}" if counted > COUNTED else f"{counted:,}"
    return ViewLink(name, f"/?{query}" if query else "/", count, given == _given(page))
