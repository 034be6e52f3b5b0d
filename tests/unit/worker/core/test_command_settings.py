"""Settings are checked once, at the start of a command: all that are wrong, by name, before anything is done."""

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner

from db.errors import SettingsError
from worker.cli import COMMANDS, root
from worker.core.command_settings import SETTINGS, settings_of

ROOT = Path(__file__).parents[4]
TRAINER = {word for word, (place, _) in COMMANDS.items() if place.startswith("trainer.")}


def loaded_in(module: str) -> set[str]:
    """The settings classes that a module of commands loads."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    return {
        node.func.value.id if isinstance(node.func.value, ast.Name) else node.func.value.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "load"
        and isinstance(node.func.value, ast.Name | ast.Attribute)
    }


def modules_of(word: str) -> set[str]:
    """The modules of a command: its own, and that of the room below, to whose group it adds commands."""
    module = COMMANDS[word][0].split(":")[0]
    name = module.rpartition(".")[2]
    return {module} | {below for below in (f"db.commands.{name}",) if (ROOT / f"{below.replace('.', '/')}.py").exists()}


def test_every_command_says_which_settings_it_reads() -> None:
    assert set(SETTINGS) == set(COMMANDS) - TRAINER


@pytest.mark.parametrize("word", SETTINGS)
def test_whatever_a_command_reads_is_checked_before_it_begins(word: str) -> None:
    checked = {kind.__name__ for found in settings_of(word) for kind in found.__mro__}
    read = {name for module in modules_of(word) for name in loaded_in(module)}
    assert {name for name in read if name.endswith("Settings")} <= checked


@pytest.mark.parametrize("word", SETTINGS)
def test_all_that_is_wrong_is_named_at_once_and_help_is_shown_all_the_same(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {
        f"UNMASK_{name.upper()}"
        for kind in settings_of(word)
        for name, field in kind.model_fields.items()
        if not field.is_required() and field.annotation in (float, int, bool)
    }
    for key in wrong:
        monkeypatch.setenv(key, "s3cret-nonsense")
    monkeypatch.setenv("UNMASK_DATABASE_URL", "sqlite:///missing/unmask.db")
    assert CliRunner().invoke(root, [word, "--help"]).exit_code == 0
    if wrong:
        with pytest.raises(SettingsError) as caught:
            CliRunner().invoke(root, [word], catch_exceptions=False)
        assert {fault.split(": ")[0] for fault in str(caught.value).split("; ")} == wrong
        assert "s3cret" not in str(caught.value)
