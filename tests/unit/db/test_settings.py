"""Settings come from the environment or from files, and everything that is wrong with them is said at once."""

import getpass
from pathlib import Path

import pytest
from pydantic import Field, PositiveInt

from db.errors import SettingsError
from db.settings import DatabaseSettings, Environment, actor


class Sample(Environment):
    """Settings with rules to break."""

    broker_url: str = Field(default="redis://default", pattern="^redis://")
    workers: PositiveInt = 2


def test_settings_that_are_not_given_have_their_defaults() -> None:
    assert DatabaseSettings.load({}).database_url == "sqlite:///unmask.db"


def test_the_environment_is_read_when_settings_are_loaded_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", "sqlite:///elsewhere.db")
    assert DatabaseSettings.load().database_url == "sqlite:///elsewhere.db"


def test_an_empty_value_is_the_same_as_none() -> None:
    assert Sample.load({"UNMASK_WORKERS": ""}).workers == 2


def test_a_secret_may_lie_in_a_file_whose_last_newline_is_not_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://:secret@host/0\n")
    assert Sample.load({"UNMASK_BROKER_URL_FILE": str(tmp_path / "url")}).broker_url == "redis://:secret@host/0"


def test_a_file_wins_over_a_value(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("7")
    given = {"UNMASK_WORKERS": "3", "UNMASK_WORKERS_FILE": str(tmp_path / "workers")}
    assert Sample.load(given).workers == 7


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["missing", "not text"])
def test_a_file_that_cannot_be_read_is_named_with_its_key(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "url"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=f"UNMASK_BROKER_URL_FILE: {path} cannot be read"):
        Sample.load({"UNMASK_BROKER_URL_FILE": str(path)})


def test_every_bad_key_is_named_in_one_error() -> None:
    given = {"UNMASK_BROKER_URL": "http://wrong", "UNMASK_WORKERS": "-1"}
    with pytest.raises(SettingsError, match=r"^UNMASK_BROKER_URL: [^;\n]+; UNMASK_WORKERS: [^;\n]+$"):
        Sample.load(given)


def test_a_bad_file_does_not_hide_the_other_bad_keys(tmp_path: Path) -> None:
    given = {"UNMASK_BROKER_URL_FILE": str(tmp_path / "missing"), "UNMASK_WORKERS": "many"}
    with pytest.raises(SettingsError, match=r"UNMASK_BROKER_URL_FILE: .*; UNMASK_WORKERS: "):
        Sample.load(given)


def test_keys_that_nobody_knows_are_left_alone() -> None:
    assert Sample.load({"UNMASK_SERVICE_HOST": "10.0.0.1", "UNMASK_PORT": "tcp://10.0.0.1:80"}) == Sample()


def test_a_refused_value_is_not_shown_since_it_may_be_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        Sample.load({"UNMASK_BROKER_URL": "amqp://user:s3cret@host"})
    error: BaseException | None = caught.value
    while error is not None:  # neither in the message, nor in what a traceback would show below it
        assert "s3cret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Sample().workers = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("environ", "name"), [({"UNMASK_ACTOR": "ada"}, "ada"), ({"UNMASK_ACTOR": ""}, None), ({}, None)]
)
def test_who_did_it_is_the_actor_or_else_the_systems_user(environ: dict[str, str], name: str | None) -> None:
    assert actor(environ) == (name or getpass.getuser())
