"""Coming in: by a password that cannot be guessed at leisure, by a link that works once, or through a trusted proxy."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text, update
from sqlalchemy.orm import Session
from starlette.requests import Request

from db.access import people, sign_ins
from db.access.hashing_queue import SIGN_INS, WAITING, WAITING_PER_ADDRESS
from db.access.passwords import hash_password, verify_password
from db.console.settings import ConsoleSettings
from db.console.web import identity
from db.errors import BusyError, ConflictError, DbError, SettingsError
from db.schema import Person, SignIn, SignInLink, SignInTry
from db.schema.clock import moment
from db.store.session import Database

Open = Callable[..., Any]
PASSWORD = "correct horse battery"  # noqa: S105 - nobody's


@pytest.fixture
def ada(database: Database) -> str:
    with database.writing() as session:
        people.add_person(session, "ada", "lead", PASSWORD)
    return "ada"


def enter(browser: Any, name: str, password: str, **more: str) -> int:
    status: int = browser.fill("/sign-in", name=name, password=password, **more).status_code
    return status


def link(database: Database, name: str) -> str:
    with database.writing() as session:
        return f"/link/{sign_ins.make_link(session, people.get_by_name(session, name))}"


def test_whoever_knows_the_password_comes_in_to_the_page_that_they_asked_for(open_browser: Open, ada: str) -> None:
    browser = open_browser()
    asked = browser.get("/cases/7?policy=x").headers["location"]
    assert asked == "/sign-in?next=%2Fcases%2F7%3Fpolicy%3Dx"
    assert 'value="/cases/7?policy=x"' in browser.get(asked).text
    answer = browser.fill("/sign-in", name=ada, password=PASSWORD, next="/cases/7?policy=x")
    assert (answer.status_code, answer.headers["location"]) == (303, "/cases/7?policy=x")
    assert browser.get("/help").status_code == 200


@pytest.mark.parametrize("path", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_sent_to_another_site_after_signing_in(open_browser: Open, ada: str, path: str) -> None:
    answer = open_browser().fill("/sign-in", name=ada, password=PASSWORD, next=path)
    assert answer.headers["location"] == "/"


def test_its_cookie_is_for_no_script_and_no_other_site_and_for_https_alone_where_there_is_https(
    open_browser: Open, ada: str
) -> None:
    plain = open_browser().fill("/sign-in", name=ada, password=PASSWORD).headers["set-cookie"]
    assert plain.startswith("unmask=")
    assert "HttpOnly" in plain
    assert "SameSite=strict" in plain
    secure = open_browser(console_url="https://unmask.example.com")
    cookie = secure.fill("/sign-in", name=ada, password=PASSWORD).headers["set-cookie"]
    assert cookie.startswith("__Host-unmask=")
    assert "; Secure" in cookie
    assert "Domain" not in cookie


def test_the_record_holds_no_token_and_no_password(database: Database, open_browser: Open, ada: str) -> None:
    browser = open_browser()
    enter(browser, ada, PASSWORD)
    token = browser.client.cookies["unmask"]
    with database.reading() as session:
        kept = session.scalars(text("SELECT digest FROM sign_ins")).one()
        password = people.get_by_name(session, ada).password or ""
    assert token not in kept
    assert password.startswith("$argon2id$")


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize(("name", "password"), [("ada", "wrong"), ("ada", ""), ("nobody", PASSWORD), ("Ada", PASSWORD)])
def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(open_browser: Open, name: str, password: str) -> None:
    answer = open_browser().fill("/sign-in", name=name, password=password)
    assert (answer.status_code, "name or the password is wrong" in answer.text) == (403, True)


def test_passwords_are_throttled_by_name_at_each_address(database: Database, open_browser: Open, ada: str) -> None:
    stranger = open_browser(console_tries_per_name=2, address="10.0.0.1")
    assert [enter(stranger, ada, "wrong") for _ in range(3)] == [403, 403, 429]
    assert enter(stranger, ada, PASSWORD) == 429
    assert enter(stranger, "somebody else", "wrong") == 403
    assert enter(open_browser(console_tries_per_name=2, address="10.0.0.9"), ada, PASSWORD) == 303
    with database.writing() as session:
        session.execute(update(SignInTry).values(created_at=moment(-1000)))
    assert enter(stranger, ada, PASSWORD) == 303


def test_strangers_with_many_addresses_lock_nobody_out_where_they_have_signed_in_before(
    open_browser: Open, ada: str
) -> None:
    limits = {"console_tries_per_name_in_all": 3}
    assert enter(open_browser(address="192.0.2.7", **limits), ada, PASSWORD) == 303
    for number in range(3):
        assert enter(open_browser(address=f"10.0.0.{number}", **limits), ada, "wrong") == 403
    assert enter(open_browser(address="10.0.0.4", **limits), ada, "wrong") == 429
    assert enter(open_browser(address="192.0.2.8", **limits), ada, PASSWORD) == 429
    assert enter(open_browser(address="192.0.2.7", **limits), ada, PASSWORD) == 303


def test_all_addresses_of_an_ipv6_network_count_as_one(open_browser: Open, ada: str) -> None:
    for number in (1, 2):
        browser = open_browser(console_tries_per_name=2, address=f"2001:db8::{number}")
        assert enter(browser, ada, "wrong") == 403
    assert enter(open_browser(console_tries_per_name=2, address="2001:db8::3"), ada, PASSWORD) == 429
    assert enter(open_browser(console_tries_per_name=2, address="2001:db8:0:1::3"), ada, PASSWORD) == 303


def test_while_too_many_sign_in_at_once_others_are_told_to_come_again(open_browser: Open, ada: str) -> None:
    browser = open_browser()
    hidden = browser.hidden("/sign-in")
    with contextlib.ExitStack() as places:
        for number in range(WAITING):
            places.enter_context(SIGN_INS.place(f"10.0.0.{number}"))
        answer = browser.client.post("/sign-in", data=hidden | {"name": ada, "password": PASSWORD})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "try again in a few seconds" in answer.text
    assert enter(browser, ada, PASSWORD) == 303


def test_one_address_cannot_fill_the_queue(open_browser: Open, ada: str) -> None:
    browser = open_browser()
    with contextlib.ExitStack() as places:
        for _ in range(WAITING_PER_ADDRESS):
            places.enter_context(SIGN_INS.place("10.0.0.1"))
        with pytest.raises(BusyError), SIGN_INS.place("10.0.0.1"):
            pass
        assert enter(browser, ada, PASSWORD) == 303


def test_passwords_are_throttled_by_address(open_browser: Open, ada: str) -> None:
    browser = open_browser(console_tries_per_address=3)
    assert [enter(browser, f"name {number}", "wrong") for number in range(4)] == [403, 403, 403, 429]
    assert enter(browser, ada, PASSWORD) == 429
    assert enter(open_browser(console_tries_per_address=3, address="10.0.0.9"), ada, PASSWORD) == 303


def test_right_passwords_are_not_counted(open_browser: Open, ada: str) -> None:
    assert [enter(open_browser(console_tries_per_name=2), ada, PASSWORD) for _ in range(4)] == [303] * 4


def test_guesses_that_come_at_once_are_not_each_the_first(
    open_browser: Open, ada: str, at_once: Callable[..., list[int]]
) -> None:
    browsers = [open_browser(console_tries_per_name=3) for _ in range(6)]
    for browser in browsers:
        browser.get("/sign-in")
    said = at_once([lambda browser=browser: enter(browser, ada, "wrong") for browser in browsers])
    assert said.count(403) <= 3
    assert set(said) <= {403, 429, 503}


@pytest.mark.parametrize("column", ["seen_at", "expires_at"])
def test_a_sign_in_ends_when_nobody_uses_it_and_after_its_time(database: Database, sign_in: Open, column: str) -> None:
    browser = sign_in("lead")
    assert browser.get("/help").status_code == 200
    with database.writing() as session:
        session.execute(update(SignIn).values({column: moment(-3601)}))
    assert browser.get("/help").status_code == 303
    assert browser.post("/next").status_code == 401


def test_a_sign_in_that_is_used_stays(database: Database, sign_in: Open) -> None:
    browser = sign_in("lead")
    for _ in range(2):
        with database.writing() as session:
            session.execute(update(SignIn).values(seen_at=moment(-3000)))
        assert browser.get("/help").status_code == 200
    with database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM sign_ins WHERE seen_at > '2020-01-01'")) == 1


def test_signing_out_ends_it_on_the_server_too(sign_in: Open) -> None:
    browser = sign_in("lead")
    assert browser.post("/sign-out").headers["location"] == "/sign-in"
    browser.client.cookies.set("unmask", browser.seed)
    assert browser.get("/help").status_code == 303


def test_whoever_is_disabled_is_out_at_once(database: Database, sign_in: Open, open_browser: Open, ada: str) -> None:
    browser = sign_in("lead", ada)
    path = link(database, ada)
    with database.writing() as session:
        session.execute(update(Person).values(disabled=True))
    assert browser.get("/help").status_code == 303
    assert enter(open_browser(), ada, PASSWORD) == 403
    assert open_browser().get(path).status_code == 404


def test_a_link_signs_in_once_and_looking_at_it_uses_nothing_up(
    database: Database, open_browser: Open, ada: str
) -> None:
    path = link(database, ada)
    assert "Welcome" in open_browser().get(path).text
    first, second = open_browser(), open_browser()
    second.get(path)
    assert first.fill(path).headers["location"] == "/"
    assert first.get("/help").status_code == 200
    assert second.get(path).status_code == 404
    assert second.fill("/sign-in", to=path).status_code == 403


def test_a_link_expires(database: Database, open_browser: Open, ada: str) -> None:
    path = link(database, ada)
    browser = open_browser()
    with database.writing() as session:
        session.execute(update(SignInLink).values(expires_at=moment(-1)))
    assert browser.get(path).status_code == 404
    assert browser.fill("/sign-in", to=path).status_code == 403


def test_a_new_password_signs_out_every_other_browser(sign_in: Open, open_browser: Open, ada: str) -> None:
    mine, other = sign_in("lead", ada), sign_in("lead", ada)
    assert mine.fill("/password", old="wrong", new="a new password 1").status_code == 400
    assert mine.fill("/password", old=PASSWORD, new="short").status_code == 400
    assert mine.fill("/password", old=PASSWORD, new="a new password 1").status_code == 303
    assert mine.get("/help").status_code == 200
    assert other.get("/help").status_code == 303
    assert enter(open_browser(), ada, PASSWORD) == 403
    assert enter(open_browser(), ada, "a new password 1") == 303


def test_a_proxys_header_counts_from_the_proxy_alone(sign_in: Open, open_browser: Open, ada: str) -> None:
    proxy = {"console_trusted_header": "X-Forwarded-User", "console_trusted_proxy": ("10.1.0.0/16",)}
    known = sign_in("lead", ada)
    assert known.get("/help").status_code == 200
    for address, name, status in (
        ("10.1.2.3", ada, 200),
        ("10.1.2.3", "stranger", 403),
        ("10.2.2.3", ada, 403),
        ("127.0.0.1", ada, 403),
    ):
        browser = open_browser(address=address, **proxy)
        assert browser.get("/help", **{"X-Forwarded-User": name}).status_code == status, (address, name)
    browser = open_browser(address="10.1.2.3", **proxy)
    twice = browser.client.get("/help", headers=[("X-Forwarded-User", "bob"), ("X-Forwarded-User", ada)])
    assert twice.status_code == 403
    assert browser.get("/sign-in").status_code == 403  # there is no way around it
    browser.client.cookies.set("unmask", known.seed)
    assert browser.get("/help").status_code == 403


def test_of_the_lines_that_a_proxy_passes_on_its_own_counts() -> None:
    settings = ConsoleSettings.model_validate(
        {"database_url": "sqlite:///unused.db", "console_trusted_proxy": ("10.1.0.0/16",)}
    )
    for lines in (["192.0.2.9", "192.0.2.1"], ["192.0.2.9, 192.0.2.1"], ["192.0.2.1"]):
        headers = [(b"x-forwarded-for", line.encode()) for line in lines]
        for peer, found in (("10.1.2.3", "192.0.2.1"), ("10.2.2.3", "10.2.2.3")):
            request = Request({"type": "http", "headers": headers, "client": (peer, 50000)})
            assert identity.client_address(settings, request) == found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("192.0.2.9, 192.0.2.1, 10.1.0.7", "192.0.2.1"),  # two proxies of ours
        ("192.0.2.1:4711", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("10.1.0.8, 10.1.0.7", "10.1.0.8"),
        ("", "10.1.2.3"),
        (",", "10.1.2.3"),
    ],
)
def test_behind_several_proxies_the_clients_address_is_the_last_that_is_none_of_theirs(line: str, found: str) -> None:
    settings = ConsoleSettings.model_validate(
        {"database_url": "sqlite:///unused.db", "console_trusted_proxy": ("10.1.0.0/16",)}
    )
    headers = [(b"x-forwarded-for", line.encode())]
    request = Request({"type": "http", "headers": headers, "client": ("10.1.2.3", 50000)})
    assert identity.client_address(settings, request) == found


def test_a_trusted_header_needs_to_know_whose() -> None:
    with pytest.raises(SettingsError, match="needs UNMASK_CONSOLE_TRUSTED_PROXY"):
        ConsoleSettings.load({"UNMASK_CONSOLE_TRUSTED_HEADER": "X-Forwarded-User"})


@pytest.mark.parametrize(
    ("name", "said"), [("", "0 characters"), ("x" * 129, "129 characters"), (" ada", "space"), ("a\nb", "unprintable")]
)
def test_a_name_is_one_that_can_be_read_and_typed(session: Session, name: str, said: str) -> None:
    with pytest.raises(DbError, match=said):
        people.add_person(session, name, "lead")


def test_nobody_is_there_twice_or_in_an_unknown_role(session: Session) -> None:
    people.add_person(session, "ada", "lead")
    with pytest.raises(ConflictError, match="ada already exists"):
        people.add_person(session, "ada", "auditor")
    with pytest.raises(ConflictError, match="ada already exists, and looks like Ada"):
        people.add_person(session, "Ada", "reviewer")
    with pytest.raises(DbError, match="role 'king' is not one of reviewer, lead, auditor"):
        people.add_person(session, "eve", "king")


def test_a_password_matches_itself_alone_and_nobodys_matches_nothing() -> None:
    kept = hash_password(PASSWORD)
    assert verify_password(kept, PASSWORD)
    assert not verify_password(kept, PASSWORD + " ")
    assert not verify_password(None, "nobody's password")
    assert not verify_password("no hash", PASSWORD)
