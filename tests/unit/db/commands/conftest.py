"""Commands on the test's database, and what they say."""

import json
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from db.store.session import Database

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_ACTOR", "ada")


@pytest.fixture
def run() -> Run:
    """Run a command as a person would; an error that we raise on purpose comes through."""

    def invoke(command: click.Command, *arguments: str) -> Result:
        return CliRunner().invoke(command, arguments, catch_exceptions=False)

    return invoke


@pytest.fixture
def asked(run: Run) -> Callable[..., Any]:
    """What a command says to programs: all of its stdout."""

    def ask(command: click.Command, *arguments: str) -> Any:
        result = run(command, *arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return ask
