"""Admin commands print one JSON document for programs and a table for people, on any database."""

import json
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from db.commands.cases import cases_group
from db.commands.database import db_group
from db.commands.failures import failures_group
from db.commands.policy import policy
from db.commands.threshold import threshold_group
from db.errors import ConflictError, DatabaseError, NotFoundError
from db.models import versions
from db.store.session import Database, head
from db.work import images
from db.work.images import Failure

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
SetThreshold = Callable[..., int]


@pytest.fixture(autouse=True)
def _settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the test's database, and who uses it."""
    if "database" in request.fixturenames:
        database: Database = request.getfixturevalue("database")
        monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_ACTOR", "ada")


def run(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def asked(command: click.Command, *arguments: str) -> Any:
    """What a command says to programs: all of its stdout."""
    result = run(command, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


LISTINGS = [(threshold_group, "show"), (cases_group, "list"), (failures_group, "list")]


@pytest.mark.parametrize(("group", "word"), LISTINGS)
@pytest.mark.usefixtures("version_id")
def test_an_empty_listing_is_an_empty_array_to_programs_and_a_sentence_to_people(group: click.Group, word: str) -> None:
    assert asked(group, word) == []
    said = run(group, word).stdout.strip()
    assert said
    assert "\n" not in said


@pytest.mark.usefixtures("version_id", "vip")
def test_thresholds_are_shown_with_who_set_them_and_why() -> None:
    asked(threshold_group, "set", "--value", "0.9")
    (row,) = asked(threshold_group, "set", "--value", "0.75", "--policy", "vip", "--reason", "measured")
    assert (row["policy"], row["value"], row["model"]) == ("vip", 0.75, "first")
    assert (row["author"], row["reason"]) == ("ada", "measured")
    assert [(row["policy"], row["value"]) for row in asked(threshold_group, "show")] == [
        ("default", 0.9),
        ("vip", 0.75),
    ]
    assert "0.7500" in run(threshold_group, "show").stdout


@pytest.mark.parametrize("value", ["1.5", "-0.1", "much"])
@pytest.mark.usefixtures("version_id")
def test_a_threshold_that_is_no_score_is_wrong_use(value: str) -> None:
    result = run(threshold_group, "set", "--value", value)
    assert result.exit_code == 2
    assert "--value" in result.stderr
    assert result.stdout == ""


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("arguments", [("show",), ("set", "--value", "0.5")])
def test_thresholds_need_an_active_model(arguments: tuple[str, ...]) -> None:
    with pytest.raises(NotFoundError, match="unmask model register"):
        run(threshold_group, *arguments)


def test_cases_are_listed_and_shown(
    add_images: AddImages, record: Record, set_threshold: SetThreshold, close_case: Callable[[int, str], None]
) -> None:
    set_threshold(0.5)
    add_images("a", "b")
    add_images("c", account_id="other", policy="vip")
    record({"a": 0.7, "b": 0.9})
    record({"c": 0.9}, policy="vip")
    first, second = asked(cases_group, "list")
    assert (first["account"], first["state"], first["photos"], first["highest"]) == ("account", "open", 2, 0.9)
    assert asked(cases_group, "list", "--policy", "vip") == [second]
    assert asked(cases_group, "list", "--limit", "1") == [first]
    close_case(first["case"], "dismissed")
    assert [row["case"] for row in asked(cases_group, "list")] == [second["case"]]
    assert [row["case"] for row in asked(cases_group, "list", "--state", "all")] == [first["case"], second["case"]]
    shown = asked(cases_group, "show", str(first["case"]))
    assert (shown["account"], shown["state"]) == ("account", "dismissed")
    assert [(photo["image"], photo["score"], photo["threshold"]) for photo in shown["photos"]] == [
        ("b", 0.9, 0.5),
        ("a", 0.7, 0.5),
    ]
    table = run(cases_group, "show", str(first["case"])).stdout
    assert all(word in table for word in ("account", "b.jpg", "0.9000", "0.5000"))


@pytest.mark.usefixtures("database")
def test_a_case_that_is_not_there_is_an_error() -> None:
    with pytest.raises(NotFoundError, match="case 4711"):
        run(cases_group, "show", "4711", "--json")


def test_failures_are_listed_with_their_reasons(database: Database, add_images: AddImages) -> None:
    add_images("a", "b", "c")
    with database.writing() as session:
        images.lease(session, ["a", "b"], "worker", 300)
        failed = [Failure("a", "not_found", "half a file"), Failure("b", "timeout", "", retry_s=60.0)]
        images.record_failures(session, failed, "worker")
    (row,) = asked(failures_group, "list")
    assert (row["image"], row["account"], row["state"]) == ("a", "account", "failed")
    assert (row["reason"], row["detail"], row["attempts"]) == ("not_found", "half a file", 1)
    assert "not_found" in run(failures_group, "list", "--limit", "1").stdout


def test_a_name_that_looks_like_markup_is_shown_as_it_is(database: Database, add_images: AddImages) -> None:
    add_images("[red]a[/red]", account_id="[bold]")
    with database.writing() as session:
        images.lease(session, ["[red]a[/red]"], "worker", 300)
        images.record_failures(session, [Failure("[red]a[/red]", "not_found", "")], "worker")
    table = run(failures_group, "list").stdout
    assert "[red]a[/red]" in table
    assert "[bold]" in table


def test_an_upgrade_says_on_stderr_what_it_did(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database_url)
    first, second = run(db_group, "upgrade"), run(db_group, "upgrade")
    assert (first.exit_code, first.stdout) == (0, "")
    assert f"schema nothing -> {head()}" in first.stderr
    assert f"schema stays at {head()}" in second.stderr


@pytest.mark.parametrize(("group", "word"), LISTINGS)
def test_a_database_without_our_schema_says_what_to_run(
    group: click.Group, word: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database_url)
    with pytest.raises(DatabaseError, match="run `unmask db upgrade`"):
        run(group, word)


def test_commands_write_to_the_database_of_the_settings(database: Database, version_id: int) -> None:
    asked(threshold_group, "set", "--value", "0.5")
    with database.reading() as session:
        assert versions.active(session).id == version_id


@pytest.mark.usefixtures("version_id", "vip")
def test_a_policy_that_needs_two_keys_is_refused_while_the_model_has_one() -> None:
    with pytest.raises(ConflictError, match="'vip' flags only what two find suspicious"):
        run(policy, "set", "vip", "--keys", "two")
    assert [row["keys"] for row in asked(policy, "set", "vip", "--keys", "one")] == ["one"]
    assert "say what to change" in run(policy, "set", "vip").output
