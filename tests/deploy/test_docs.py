"""What the documents in ``deploy/`` say of settings, commands and events is what the software says of itself."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from tests.deploy import clilines, docs

PROJECT = docs.PROJECT
DOCUMENTS = sorted([PROJECT / "README.md", *PROJECT.glob("deploy/*.md")])
YAML = sorted([*PROJECT.glob("deploy/*.yaml"), *PROJECT.glob("deploy/k8s/**/*.yaml")])
UNITS = sorted(PROJECT.glob("deploy/systemd/*.service"))
DOCKERFILE = PROJECT / "deploy" / "docker" / "Dockerfile"
#: Documents that people write, and which name files.
WRITTEN = [
    path for path in [*DOCUMENTS, PROJECT / "CONTRIBUTING.md"] if path not in (docs.COMMANDS, docs.CONFIGURATION)
]
#: What compose.yaml takes from its environment for itself, or the documents use as an example.
OF_COMPOSE = {"UNMASK_MEDIA", "UNMASK_TAG", "UNMASK_X", "UNMASK_X_FILE", "UNMASK_", "UNMASK_API_", "UNMASK_KEEP_"}


def unknown(commands: Iterable[list[str]]) -> list[str]:
    """What is wrong with these commands."""
    return [found for words in commands if (found := clilines.wrong(words))]


def test_the_reference_of_settings_is_that_of_the_classes() -> None:
    assert docs.CONFIGURATION.read_text() == docs.configuration(), "run `make docs`"


def test_the_reference_of_commands_is_that_of_the_commands() -> None:
    # In a process of its own: click remembers the help option of a command that another test called without its parent.
    script = "from tests.deploy import docs; print(docs.commands(), end='')"
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert docs.COMMANDS.read_text() == said, "run `make docs`"


def test_the_catalogue_of_events_is_that_of_the_code() -> None:
    assert docs.EVENTS.read_text() == docs.events(), "run `make docs`"


def test_no_help_shows_what_the_environment_keeps_secret() -> None:
    secrets = {
        "UNMASK_DATABASE_URL": "postgresql://unmask:s3cret@db/unmask",
        "UNMASK_BROKER_URL": "redis://:s3cret@redis/0",
        "UNMASK_WEBHOOK_URL": "https://example.com/hook?key=s3cret",
        "UNMASK_WEBHOOK_SECRET": "whsec_" + "s3cret" * 8,
        "UNMASK_LOG_KEY": "s3cret" * 8,
    }
    script = "from tests.deploy import docs; print(docs.commands(), docs.configuration())"
    command, environment = [sys.executable, "-c", script], os.environ | secrets
    said = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert "unmask webhook" in said.stdout
    assert "s3cret" not in said.stdout + said.stderr


def test_every_setting_that_the_code_names_is_in_the_reference() -> None:
    code = [path.read_text() for room in ("db", "trainer", "worker") for path in (PROJECT / room).rglob("*.py")]
    named = {name for text in code for name in re.findall(r"\bUNMASK_[A-Z_]*[A-Z]\b", text)}
    known = known_settings()
    assert {name for name in named if name not in known and not name.endswith("_FILE")} <= {"UNMASK_X"}


def test_every_setting_that_is_used_exists() -> None:
    known = known_settings() | OF_COMPOSE
    for path in [*DOCUMENTS, *YAML, *UNITS, DOCKERFILE]:
        used = set(re.findall(r"\bUNMASK_[A-Z_]*", path.read_text()))
        strange = {name for name in used if name not in known and name.removesuffix("_FILE") not in known}
        assert (path, strange) == (path, set())


def test_every_command_in_a_document_exists() -> None:
    for path in DOCUMENTS:
        if path.name != "COMMANDS.md":
            assert (path, unknown(clilines.in_markdown(path))) == (path, [])


def test_every_source_file_that_a_document_names_exists() -> None:
    below = [PROJECT / folder for folder in ("db", "trainer", "worker", "tests")]
    for path in WRITTEN:
        named = re.findall(r"`((?:[\w-]+/)*[\w-]+\.py)`", path.read_text())
        missing = [name for name in named if not any(PROJECT.glob(name)) and not _is_below(name, below)]
        assert (path, missing) == (path, [])


def test_every_command_in_a_manifest_exists() -> None:
    for path in YAML:
        for document in yaml.safe_load_all(path.read_text()):
            assert (path, unknown(clilines.in_document(document))) == (path, [])


def test_every_command_that_is_started_exists() -> None:
    for path in [*UNITS, DOCKERFILE]:
        lines = re.findall(r"ExecStart=(.*)|CMD \[(.*)\]", path.read_text())
        texts = [unit or image.replace('"', "").replace(",", " ") for unit, image in lines]
        started = [found for line in texts for found in clilines.words_of(line)]
        assert started, path
        assert (path, unknown(started)) == (path, [])


def test_what_does_not_exist_is_found() -> None:
    assert clilines.wrong(["unmask", "statsu"])
    assert clilines.wrong(["unmask", "health", "--alive"])
    assert clilines.wrong(["unmask", "model", "demote", "x"])
    assert clilines.wrong(["unmask", "model", "rollback", "--reason", "x"]) is None


def _is_below(name: str, folders: list[Path]) -> bool:
    return any(found for folder in folders for found in folder.rglob(name))


@functools.cache
def known_settings() -> set[str]:
    return set(re.findall(r"`(UNMASK_\w+)`", docs.configuration()))
