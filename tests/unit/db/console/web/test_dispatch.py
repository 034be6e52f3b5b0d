"""Who may ask for what: every page, in every role; and what every answer says to the browser."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient

from db.console.app import ROUTES, build_app
from db.console.settings import ConsoleSettings
from db.console.web.headers import HEADERS, SecurityHeaders
from db.review.settings import ReviewSettings
from db.store.session import Database

Open = Callable[..., Any]
ALL, DECIDE, LEAD, LOG = "reviewer lead auditor", "reviewer lead", "lead", "lead auditor"
#: Which roles may ask; nobody at all needs to be signed in for "".
MAY = {
    "GET /healthz": "",
    "GET /sign-in": "",
    "POST /sign-in": "",
    "GET /link/{token}": "",
    "POST /link/{token}": "",
    "GET /look": "",
    "POST /look": "",
    "POST /sign-out": ALL,
    "GET /password": ALL,
    "POST /password": ALL,
    "GET /help": ALL,
    "GET /": ALL,
    "GET /backlog": ALL,
    "POST /next": DECIDE,
    "GET /cases/{case_id:row}": ALL,
    "GET /cases/{case_id:row}/alike": ALL,
    "POST /cases/{case_id:row}/decide": DECIDE,
    "GET /cases/{case_id:row}/others": DECIDE,
    "GET /cases/{case_id:row}/other": DECIDE,
    "POST /cases/{case_id:row}/hold": DECIDE,
    "POST /cases/{case_id:row}/comment": DECIDE,
    "POST /cases/{case_id:row}/restrict": DECIDE,
    "POST /cases/{case_id:row}/photos/{flag_id:row}/seen": DECIDE,
    "GET /restricted": LEAD,
    "GET /my-day": DECIDE,
    "GET /team": LEAD,
    "POST /team/templates": LEAD,
    "POST /team/pictures": LEAD,
    "GET /samples/{sample_id:row}/original": DECIDE,
    "POST /samples/{sample_id:row}/undo": DECIDE,
    "POST /samples/{sample_id:row}/leave": DECIDE,
    "POST /cases/{case_id:row}/undo": DECIDE,
    "POST /cases/{case_id:row}/appeal": DECIDE,
    "POST /cases/{case_id:row}/leave": DECIDE,
    "POST /cases/{case_id:row}/ahead": DECIDE,
    "GET /cases/{case_id:row}/photos/{flag_id:row}/thumb": DECIDE,
    "GET /cases/{case_id:row}/photos/{flag_id:row}/{kind}": DECIDE,
    "POST /cases/{case_id:row}/photos/{flag_id:row}/{kind}": DECIDE,
    "GET /cases/{case_id:row}/photos/{flag_id:row}/{kind}/box": DECIDE,
    "GET /samples": DECIDE,
    "POST /samples/next": DECIDE,
    "GET /samples/{sample_id:row}": DECIDE,
    "GET /samples/{sample_id:row}/photo": DECIDE,
    "GET /samples/{sample_id:row}/box": DECIDE,
    "POST /samples/{sample_id:row}/judge": DECIDE,
    "GET /views/{name}": ALL,
    "POST /views": ALL,
    "POST /views/delete": ALL,
    "POST /batch": DECIDE,
    "POST /batch/decide": DECIDE,
    "GET /audit/export": LOG,
    "GET /quality": LOG,
    "POST /quality/share": LEAD,
    "POST /quality/golden": LEAD,
    "GET /quality/me": DECIDE,
    "GET /quality/reviewers/{name}": LEAD,
    "GET /policies/{name}": LOG,
    "GET /exports": LOG,
    "GET /exports/decisions": LOG,
    "GET /exports/statements": LOG,
    "GET /overview": LOG,
    "GET /overview/{part}": LOG,
    "GET /thresholds": LEAD,
    "POST /thresholds": LEAD,
    "GET /audit": LOG,
    "GET /people": LEAD,
    "POST /people/add": LEAD,
    "POST /people/link": LEAD,
    "POST /people/disable": LEAD,
    "POST /people/enable": LEAD,
}
STRANGE = ("/nowhere", "/cases/x", "/cases/99999999999999999999", "/static/nothing.css", "/static/console.css")


def path_of(page: str) -> str:
    path = page.split()[1]
    for name, value in {"{token}": "x", "{case_id:row}": "7", "{flag_id:row}": "7", "{kind}": "photo"}.items():
        path = path.replace(name, value)
    return path.replace("{sample_id:row}", "7").replace("{part}", "work")


def ask(browser: Any, page: str) -> httpx2.Response:
    answer: httpx2.Response = (browser.get if page.startswith("GET") else browser.post)(path_of(page))
    return answer


def test_every_page_is_in_the_table() -> None:
    assert {f"{page.method} {page.path}" for page in ROUTES} == set(MAY)


@pytest.mark.parametrize("role", ["reviewer", "lead", "auditor"])
def test_a_role_gets_its_pages_and_no_others(sign_in: Open, role: str) -> None:
    browser = sign_in(role)
    for page, roles in MAY.items():
        if page in {"POST /sign-out", "POST /password"}:
            continue  # they end the sign-in
        refused = ask(browser, page).text.find("may not open this page") > 0
        assert refused == (bool(roles) and role not in roles.split()), page


def test_whoever_is_not_signed_in_is_sent_to_sign_in_and_nothing_is_done(open_browser: Open) -> None:
    browser = open_browser()
    for page, roles in MAY.items():
        answer = ask(browser, page)
        if not roles:
            assert "/sign-in?" not in answer.headers.get("location", ""), page
        elif page.startswith("GET"):
            assert (answer.status_code, answer.headers["location"][:14]) == (303, "/sign-in?next="), page
        else:
            assert (answer.status_code, "no longer signed in" in answer.text) == (401, True), page


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_no_form_is_taken_without_its_pages_token(sign_in: Open, token: str) -> None:
    browser = sign_in("lead")
    for page in MAY:
        if page.startswith("POST"):
            answer = browser.client.post(path_of(page), data={"form_token": token})
            assert (answer.status_code, "not from this console" in answer.text) == (403, True), page


def test_another_browsers_token_is_worth_nothing(sign_in: Open) -> None:
    mine, theirs = sign_in("lead"), sign_in("lead", "eve")
    theirs.seed = mine.seed
    assert theirs.post("/next").status_code == 403


def test_every_answer_carries_the_policy_whatever_it_is(sign_in: Open, open_browser: Open) -> None:
    for browser in (sign_in("lead"), open_browser()):
        answers = [ask(browser, page) for page in MAY] + [browser.get(path) for path in STRANGE]
        answers += [browser.client.request("DELETE", "/"), browser.client.get("/", headers={"host": "evil.example"})]
        statuses = {answer.status_code for answer in answers}
        assert (
            statuses >= {200, 303, 400, 403, 404, 405} if browser.seed else statuses >= {200, 303, 400, 401, 404, 405}
        )
        for answer in answers:
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.url


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_a_fault_of_ours_carries_them_too() -> None:
    def broken(_request: Request) -> None:
        raise ZeroDivisionError

    app = SecurityHeaders(Starlette(routes=[Route("/", broken)]), secure=True)
    answer = TestClient(app, raise_server_exceptions=False).get("/")
    assert answer.status_code == 500
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "max-age" in answer.headers["strict-transport-security"]


def test_a_database_that_is_away_is_said_and_its_address_is_not() -> None:
    away = Database("postgresql://127.0.0.1:1/secret")
    app = build_app(away, ConsoleSettings(), ReviewSettings())
    browser = TestClient(app, base_url="http://localhost", cookies={"unmask": "x"})
    for answer in (browser.get("/help"), browser.post("/next")):
        assert (answer.status_code, "secret" in answer.text, "Try again" in answer.text) == (503, False, True)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    away.close()


def test_pages_are_kept_by_no_browser_and_scripts_only_while_they_are_the_same(sign_in: Open) -> None:
    browser = sign_in("lead")
    assert browser.get("/").headers["cache-control"] == "no-store"
    assert browser.get("/static/console.js").headers["cache-control"] == "no-cache"


def test_a_form_that_is_too_large_is_refused(sign_in: Open) -> None:
    browser = sign_in("lead")
    assert browser.post("/next", policy="x" * 70_000).status_code == 413
    assert browser.post("/next", policy="x" * 30_000).status_code == 413
    assert browser.post("/next", **{f"field{number}": "" for number in range(101)}).status_code == 413


@pytest.mark.parametrize("path", ["/cases/{}", "/cases/1/photos/{}/photo", "/samples/{}", "/cases/{}/alike"])
@pytest.mark.parametrize("number", ["9" * 19, "9" * 20, "9" * 4300, "9" * 9000, "-1", "1e3"])
def test_an_id_that_no_row_can_have_is_not_found(sign_in: Open, path: str, number: str) -> None:
    assert sign_in("lead").get(path.format(number)).status_code == 404


def test_a_wrong_role_is_written_down(sign_in: Open, logged: Callable[[], list[tuple[str, str]]]) -> None:
    sign_in("reviewer", "bob").get("/people")
    assert logged() == [("bob", "refused")]
