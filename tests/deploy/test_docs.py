"""What the documents in ``deploy/`` say of settings and commands is what the software says of itself."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy import clilines, docs

PROJECT = docs.PROJECT
DOCUMENTS = sorted([PROJECT / "README.md", *PROJECT.glob("deploy/*.md")])
YAML = sorted([*PROJECT.glob("deploy/*.yaml"), *PROJECT.glob("deploy/k8s/**/*.yaml")])
UNITS = sorted(PROJECT.glob("deploy/systemd/*.service"))
#: What compose.yaml takes from its environment for itself, or the documents use as an example.
OF_COMPOSE = {"UNMASK_MEDIA", "UNMASK_TAG", "UNMASK_X", "UNMASK_X_FILE", "UNMASK_", "UNMASK_KEEP_"}


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def test_the_reference_of_settings_is_that_of_the_classes() -> None:
    assert docs.CONFIGURATION.read_text() == docs.configuration(), "run `make docs`"


def test_the_reference_of_commands_is_that_of_the_commands() -> None:
    # In a process of its own: click remembers the help option of a command that another test called without its parent.
    script = "from tests.deploy import docs; print(docs.commands(), end='')"
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert docs.COMMANDS.read_text() == said, "run `make docs`"


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


@pytest.mark.parametrize("path", [*DOCUMENTS, *YAML, *UNITS, PROJECT / "deploy/docker/Dockerfile"], ids=name_of)
def test_every_setting_that_is_used_exists(path: Path) -> None:
    known = known_settings() | OF_COMPOSE
    used = set(re.findall(r"\bUNMASK_[A-Z_]*", path.read_text()))
    assert {name for name in used if name not in known and name.removesuffix("_FILE") not in known} == set()


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != "COMMANDS.md"], ids=name_of)
def test_every_command_in_a_document_exists(path: Path) -> None:
    assert [found for words in clilines.in_markdown(path) if (found := clilines.wrong(words))] == []


@pytest.mark.parametrize("path", YAML, ids=name_of)
def test_every_command_in_a_manifest_exists(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        assert [found for words in clilines.in_document(document) if (found := clilines.wrong(words))] == []


@pytest.mark.parametrize("path", [*UNITS, PROJECT / "deploy/docker/Dockerfile"], ids=name_of)
def test_every_command_that_is_started_exists(path: Path) -> None:
    lines = re.findall(r"ExecStart=(.*)|CMD \[(.*)\]", path.read_text())
    started = [
        found for unit, image in lines for found in clilines.words_of(unit or image.replace('"', "").replace(",", " "))
    ]
    assert started
    assert [found for words in started if (found := clilines.wrong(words))] == []


def test_what_does_not_exist_is_found() -> None:
    assert clilines.wrong(["unmask", "statsu"])
    assert clilines.wrong(["unmask", "health", "--alive"])
    assert clilines.wrong(["unmask", "model", "demote", "x"])
    assert clilines.wrong(["unmask", "model", "rollback", "--reason", "x"]) is None


@functools.cache
def known_settings() -> set[str]:
    return set(re.findall(r"`(UNMASK_\w+)`", docs.configuration()))
