"""Commands are given by people: where some are registered, by them, in the console's roles; all of it is audited."""

from collections.abc import Callable
from typing import Any

import click
import pytest

from db.access import audit, people
from db.commands.console import create_sign_in_url
from db.commands.failures import failures_group
from db.commands.model import model_rollback, model_shadow
from db.commands.pause import pause_command
from db.commands.review import review_group
from db.commands.reviewer import reviewer_group
from db.commands.threshold import threshold_group
from db.errors import ConflictError, DeniedError
from db.store.session import Database

Run = Callable[..., Any]

LEADS_ALONE: tuple[tuple[click.Command, str], ...] = (
    (threshold_group, "set --value 0.9"),
    (threshold_group, "rollback"),
    (threshold_group, "apply"),
    (model_rollback, "--reason r"),
    (model_shadow, "first"),
    (pause_command, "scoring --reason r"),
    (failures_group, "retry --all"),
    (failures_group, "drop a"),
    (review_group, "draw"),
    (reviewer_group, "add eve"),
    (reviewer_group, "disable bob"),
    (reviewer_group, "link bob"),
)


@pytest.fixture
def registered(database: Database) -> Database:
    """Lea leads, bob reviews, abe audits."""
    with database.writing() as session:
        for name, role in (("lea", "lead"), ("bob", "reviewer"), ("abe", "auditor")):
            people.add_person(session, name, role)
    return database


@pytest.fixture
def act(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``act("bob")``: commands are given in this name from now on."""
    return lambda name: monkeypatch.setenv("UNMASK_ACTOR", name)


def logged(database: Database) -> list[tuple[str, str, str | None]]:
    with database.reading() as session:
        return [
            (entry.who, entry.what, entry.detail)
            for entry in reversed(audit.find_entries(session, audit.EntryFilter(), 1000))
        ]


@pytest.mark.parametrize(("command", "words"), LEADS_ALONE, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.usefixtures("registered", "version_id")
def test_what_leads_do_in_the_console_only_leads_do_by_command(
    command: click.Command, words: str, run: Run, act: Callable[[str], None]
) -> None:
    act("bob")
    with pytest.raises(DeniedError, match="bob is registered as reviewer: only a lead may do this"):
        run(command, *words.split())
    act("eve")
    with pytest.raises(DeniedError, match="eve is not registered: set UNMASK_ACTOR to one of the people"):
        run(command, *words.split())


@pytest.mark.parametrize("words", ["next", "decide 1 confirmed --version 1", "sample", "judge 1 fake"])
@pytest.mark.usefixtures("registered", "version_id")
def test_an_auditor_and_a_stranger_decide_nothing(words: str, run: Run, act: Callable[[str], None]) -> None:
    act("abe")
    with pytest.raises(DeniedError, match="abe is registered as auditor: only a reviewer or lead may do this"):
        run(review_group, *words.split())
    act("eve")
    with pytest.raises(DeniedError, match="eve is not registered"):
        run(review_group, *words.split())


def test_what_is_decided_in_a_terminal_is_audited_as_in_the_console(
    registered: Database, run: Run, act: Callable[[str], None], open_case: Callable[..., int]
) -> None:
    case = str(open_case("ada"))
    act("bob")
    run(review_group, "next")
    run(review_group, "decide", case, "confirmed", "--version", "1")
    run(review_group, "undo", case, "--version", "2")
    run(review_group, "bulk", "dismissed", f"{case}:3", "--confirm", "1")
    run(review_group, "appeal", case, "--version", "4", "--reason", "its owner says so")
    assert [entry[:2] for entry in logged(registered)] == [
        ("bob", "viewed"), ("bob", "decided"), ("bob", "undone"), ("bob", "decided"), ("bob", "appealed"),
    ]  # fmt: skip


def test_only_a_lead_undoes_as_a_lead(
    registered: Database, run: Run, act: Callable[[str], None], open_case: Callable[..., int]
) -> None:
    case = str(open_case("ada"))
    act("lea")
    run(review_group, "decide", case, "confirmed", "--version", "1")
    act("bob")
    with pytest.raises(ConflictError, match="only they or a lead may undo that"):
        run(review_group, "undo", case, "--version", "2")
    with pytest.raises(DeniedError, match="bob is registered as reviewer: only a lead"):
        run(review_group, "undo", case, "--version", "2", "--lead")
    act("lea")
    run(review_group, "undo", case, "--version", "2", "--lead")
    assert logged(registered)[-1][:2] == ("lea", "undone")


@pytest.mark.usefixtures("version_id")
def test_a_leads_command_is_audited(registered: Database, run: Run, act: Callable[[str], None]) -> None:
    act("lea")
    run(threshold_group, "set", "--value", "0.9")
    assert logged(registered) == [("lea", "command", "threshold set")]


def test_whoever_adds_the_first_person_is_told_what_changes(database: Database, run: Run) -> None:
    said = run(reviewer_group, "add", "bob").stderr
    assert "From now on only people who were added may give commands that change something" in said
    assert run(reviewer_group, "add", "ada", "--role", "lead").stderr == ""  # no lead yet: anybody may make one
    assert logged(database)[-1] == ("ada", "person_added", "ada as lead")


def test_a_link_that_the_console_prints_is_audited(registered: Database) -> None:
    create_sign_in_url(registered, "bob", "http://localhost", 60)
    assert logged(registered) == [("ada", "link_made", "bob")]


def test_a_sample_that_was_given_to_nobody_is_not_judged_by_its_number(
    database: Database, run: Run, asked: Callable[..., Any], act: Callable[[str], None], open_case: Callable[..., int]
) -> None:
    open_case("ada")
    run(review_group, "draw")
    act("bob")
    sample = str(asked(review_group, "sample")["sample"])
    act("cy")
    with pytest.raises(ConflictError, match="held by bob"):
        run(review_group, "judge", sample, "fake")
    act("bob")
    run(review_group, "judge", sample, "unsure")
    act("cy")
    with pytest.raises(DeniedError, match=f"sample {sample} was not given to cy"):
        run(review_group, "judge", sample, "fake")
    assert asked(review_group, "sample")["sample"] == int(sample)
    run(review_group, "judge", sample, "fake")
    assert [entry[:2] for entry in logged(database)][-2:] == [("cy", "viewed_sample"), ("cy", "judged_sample")]
