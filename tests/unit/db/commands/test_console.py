"""The console is started where it is safe, and people are entered from the terminal."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from db.access import people, sign_ins
from db.access.passwords import verify_password
from db.commands.console import check_reach, create_sign_in_url, host_names
from db.commands.reviewer import reviewer_group
from db.console.app import build_app
from db.console.settings import ConsoleSettings
from db.errors import ConflictError, DeniedError, NotFoundError, SettingsError
from db.review.settings import ReviewSettings
from db.store.session import Database

Run = Callable[..., Result]


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "unmask.example.com", "::"])  # noqa: S104 - what is refused
def test_it_listens_to_others_only_behind_https(host: str) -> None:
    with pytest.raises(SettingsError, match="needs UNMASK_CONSOLE_URL=https"):
        check_reach(host, ConsoleSettings())
    with pytest.raises(SettingsError, match="needs UNMASK_CONSOLE_URL=https"):
        check_reach(host, ConsoleSettings(console_url="http://unmask.example.com"))
    check_reach(host, ConsoleSettings(console_url="https://unmask.example.com"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_it_needs_nothing(host: str) -> None:
    check_reach(host, ConsoleSettings())


def test_it_answers_to_its_own_names_alone() -> None:
    settings = ConsoleSettings(console_url="https://unmask.example.com:8443/")
    assert host_names("127.0.0.1", settings) == ["127.0.0.1", "localhost", "unmask.example.com"]


@pytest.mark.parametrize(("host", "base"), [("::1", "http://[::1]:8000"), ("127.0.0.1", "http://127.0.0.1:8000")])
def test_where_it_listens_it_answers(database: Database, host: str, base: str) -> None:
    app = build_app(database, ConsoleSettings(), ReviewSettings(), host_names(host, ConsoleSettings()))
    assert TestClient(app, base_url=base).get("/healthz").status_code == 200
    assert TestClient(app, base_url="http://evil.example").get("/healthz").status_code == 400


def test_people_are_added_listed_disabled_and_get_passwords_and_links(
    database: Database, run: Run, asked: Callable[..., Any]
) -> None:
    run(reviewer_group, "add", "ada", "--role", "lead")
    typed = CliRunner().invoke(
        reviewer_group, ["password", "ada"], input="correct horse battery\n", catch_exceptions=False
    )
    assert typed.exit_code == 0
    (row,) = asked(reviewer_group, "list")
    assert (row["name"], row["role"], row["password"], row["disabled"]) == ("ada", "lead", True, False)
    with database.reading() as session:
        assert verify_password(people.get_by_name(session, "ada").password, "correct horse battery")
    link = run(reviewer_group, "link", "ada").stdout
    assert link.startswith("http://127.0.0.1:8000/link/")
    run(reviewer_group, "disable", "ada")
    with pytest.raises(DeniedError, match="ada is disabled"):
        run(reviewer_group, "link", "ada")
    run(reviewer_group, "disable", "ada", "--off")
    with pytest.raises(ConflictError, match="ada already exists"):
        run(reviewer_group, "add", "ada")


def test_a_link_for_nobody_is_refused(database: Database) -> None:
    with pytest.raises(NotFoundError, match="nobody is named eve"):
        create_sign_in_url(database, "eve", "http://localhost", sign_ins.LINK_S)
