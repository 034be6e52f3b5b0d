"""What people do wrong on their machines ends in a line that says so: never in a traceback, never in silence."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from trainer.detector.checkpoint import SHIPPED

PROJECT = Path(__file__).parents[2]
#: A folder that nobody may write to, not even root.
READ_ONLY = Path("/sys")

pytestmark = pytest.mark.timeout(300)


def unmask(folder: Path, arguments: Sequence[str], **environ: str) -> subprocess.CompletedProcess[bytes]:
    """The command as people run it, on a narrow terminal that shows nothing but ASCII."""
    odd = {"PYTHONPATH": str(PROJECT), "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "COLUMNS": "40"}
    return subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=folder,
        env=os.environ | odd | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=240,
    )


@pytest.fixture
def folder(tmp_path: Path, photo: Path) -> Path:
    """A photo whose name is not ASCII, files of other kinds, and a database."""
    (tmp_path / "büro.jpg").write_bytes(photo.read_bytes())
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04" + bytes(1000))
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    done = unmask(tmp_path, ["db", "upgrade"])
    assert done.returncode == 0, done.stderr
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("score --device mps büro.jpg", "device 'mps' is not supported"),
        ("score --device cuda:77 büro.jpg", "device 'cuda:77': this machine has"),
        ("score --checkpoint model.pth büro.jpg", "it is a PyTorch file"),
        ("score --checkpoint pipe büro.jpg", "checkpoint pipe is not a file"),
        ("score --checkpoint . büro.jpg", "checkpoint . is a folder"),
        ("model register model.pth", "it is a PyTorch file"),
        ("model show büro", "model version 'büro' is not registered"),
        (f"explain --checkpoint {SHIPPED} büro.jpg --out {READ_ONLY}/x.png", "cannot be written"),
        (f"evaluate --checkpoint {SHIPPED} --manifest file --out x", "manifest file has no rows"),
        (f"evaluate --checkpoint {SHIPPED} --manifest . --out x", "manifest . is not a readable CSV file"),
        ("train --manifest missing.csv --out file", "missing.csv"),
        ("enqueue --manifest .", "manifest . is not a readable CSV file"),
        ("failures retry --reason büro", "reason 'büro' is unknown; reasons on record: none"),
        ("failures show büro", "image 'büro' is not in the record"),
        ("threshold set --value 0.5", "no model version is active"),
        (f"review export --out {READ_ONLY}/x", "cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_2(folder: Path, arguments: str, message: str) -> None:
    done = unmask(folder, arguments.split())
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert message in said
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ("sweep", {"UNMASK_BROKER_URL": "amqp://u:s3cret@rabbit//"}, "RabbitMQ (amqp://) is not supported"),
        ("worker", {"UNMASK_BROKER_URL": "sentinel://:s3cret@a:26379"}, "Redis Sentinel (sentinel://) is not"),
        ("worker", {"UNMASK_ALLOWED_HOSTS": "a.example;b.example"}, "'a.example;b.example' is not a host"),
        ("db upgrade", {"UNMASK_DATABASE_URL": f"sqlite:///{READ_ONLY}/unmask.db"}, "unable to open database file"),
        ("model register {SHIPPED}", {"UNMASK_MODELS_DIR": f"{READ_ONLY}/models"}, "cannot be written"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_its_name(
    folder: Path, arguments: str, settings: dict[str, str], message: str
) -> None:
    done = unmask(folder, arguments.format(SHIPPED=SHIPPED).split(), **settings)
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert "s3cret" not in said
    assert message in said
    assert done.returncode == 2


@pytest.mark.parametrize(
    "arguments", ["score büro.jpg", "cases list", "threshold --help", "failures list", "model list"]
)
def test_an_odd_terminal_shows_what_it_can(folder: Path, arguments: str) -> None:
    done = unmask(folder, arguments.split())
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert done.stdout.decode()


@pytest.mark.parametrize("arguments", ["cases list", "failures list", "threshold show", "model list", "status"])
def test_only_an_upgrade_creates_a_database(tmp_path: Path, arguments: str) -> None:
    done = unmask(tmp_path, arguments.split())
    assert b"does not exist: run `unmask db upgrade`" in done.stderr
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", ["health", "status", "cases list", "db upgrade"])
def test_a_misspelt_setting_is_named_at_the_start(folder: Path, arguments: str) -> None:
    done = unmask(folder, arguments.split(), UNMASK_ALLOWED_HOST="cdn.example.com", UNMASK_SERVICE_HOST="10.0.0.1")
    (line,) = [line for line in done.stderr.decode().splitlines() if line.startswith("Warning: ")]
    assert line.endswith("UNMASK_ALLOWED_HOST is not a setting and is ignored: did you mean UNMASK_ALLOWED_HOSTS?")
