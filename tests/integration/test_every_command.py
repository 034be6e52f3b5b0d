"""Every path that any command takes may be of the wrong kind: one line says so, with exit status 1 or 2."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from db.store.session import Database
from trainer.detector.checkpoint import SHIPPED
from worker.cli import root
from worker.ending import end_of

#: Commands that serve until they are stopped.
SERVING = {"worker", "console", "serve"}
#: Not ASCII, and with a control character that would colour a terminal.
ODD = "büro \x1b[31m.csv"
KINDS = ("missing", "folder", "empty", "binary", "text", "device", "endless", "full disk", "read-only", "odd name")

pytestmark = pytest.mark.timeout(120)


def every_command(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command that does something, with its words."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from every_command(below, (*path, name))
    else:
        yield path, command


def takes_path(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, click.Path | click.File)


CASES = [
    pytest.param(path, command, parameter, id=f"{' '.join(path)} {parameter.opts[0]}")
    for path, command in every_command(root)
    if path[0] not in SERVING
    for parameter in command.params
    if takes_path(parameter)
]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema; shared: to be copied."""
    path = tmp_path_factory.mktemp("record") / "unmask.db"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    database.close()
    return path


@pytest.fixture
def paths(tmp_path: Path, record: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A path of each kind, in a folder with a database."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 40)
    (tmp_path / "text").write_text("a,b\nc\n" * 100)
    (tmp_path / ODD).touch()
    shutil.copyfile(record, tmp_path / "unmask.db")
    monkeypatch.setenv("UNMASK_DATABASE_URL", f"sqlite:///{tmp_path}/unmask.db")
    monkeypatch.setenv("UNMASK_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return {
        "missing": tmp_path / "no" / "such",
        "folder": tmp_path / "folder",
        "empty": tmp_path / "empty",
        "binary": tmp_path / "binary",
        "text": tmp_path / "text",
        "device": Path("/dev/null"),
        "endless": Path("/dev/zero"),
        "full disk": Path("/dev/full"),
        "read-only": Path("/sys/unmask"),
        "odd name": tmp_path / ODD,
    }


def sample(parameter: click.Parameter) -> str:
    """A value that the parameter takes."""
    if isinstance(parameter.type, click.Choice):
        return str(parameter.type.choices[0])
    if isinstance(parameter.type, click.types.FloatParamType | click.types.FloatRange):
        return "0.5"
    if isinstance(parameter.type, click.types.IntParamType | click.types.IntRange):
        return "1"
    if takes_path(parameter):
        return str(SHIPPED) if "checkpoint" in parameter.opts[0] else "text"
    return "x"


def arguments(path: tuple[str, ...], command: click.Command, odd: click.Parameter, value: str) -> list[str]:
    """The words of a call, with this value for one parameter and a sample for each other that is required."""
    words = list(path)
    for parameter in command.params:
        if parameter is odd or parameter.required:
            given = value if parameter is odd else sample(parameter)
            words += [given] if isinstance(parameter, click.Argument) else [parameter.opts[0], given]
    return words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("path", "command", "parameter"), CASES)
def test_a_path_of_the_wrong_kind_is_one_line(
    path: tuple[str, ...],
    command: click.Command,
    parameter: click.Parameter,
    kind: str,
    paths: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = arguments(path, command, parameter, str(paths[kind]))
    status = end_of(lambda: root.main(words, "unmask", standalone_mode=False))  # an unknown error is raised
    said = capsys.readouterr()
    assert status in {0, 1, 2}
    assert status == 0 or said.err.strip() or said.out.strip()
    assert "Traceback" not in said.err
