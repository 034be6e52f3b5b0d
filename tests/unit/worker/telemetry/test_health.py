"""A worker's word on itself is believed while it is fresh and its process lives, and asked of nobody else."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker.cli import root
from worker.telemetry.health import Health, WorkerStatus, statuses
from worker.telemetry.refusals import refusals


@pytest.fixture(autouse=True)
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNMASK_RUN_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


@pytest.fixture
def edit(run_dir: Path) -> Callable[..., None]:
    """Changes what this process said of itself."""

    def change(**said: object) -> None:
        path = run_dir / f"worker-{os.getpid()}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | said))

    return change


def only(run_dir: Path, live_s: float = 60.0) -> WorkerStatus:
    (status,) = statuses(run_dir, live_s)
    return status


def asked(*arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(root, ["health", *arguments, "--json"], catch_exceptions=False)
    return result.exit_code, json.loads(result.stdout)


def test_a_worker_is_ready_once_its_model_is_loaded_and_it_takes_messages(run_dir: Path) -> None:
    health = Health(run_dir)
    assert (only(run_dir).live, only(run_dir).loaded, only(run_dir).ready) == (True, False, False)
    health.loaded("me")
    assert (only(run_dir).loaded, only(run_dir).ready) == (True, False)
    health.consuming(consuming=True)
    assert (only(run_dir).ready, only(run_dir).owner) == (True, "me")
    health.consuming(consuming=False)
    assert (only(run_dir).live, only(run_dir).ready) == (True, False)


def test_a_worker_whose_loop_was_silent_too_long_is_dead(run_dir: Path, edit: Callable[..., None]) -> None:
    health = Health(run_dir)
    health.loaded("me")
    health.consuming(consuming=True)
    edit(beat=time.monotonic() - 61)
    assert (only(run_dir).live, only(run_dir).ready) == (False, False)
    assert only(run_dir, live_s=120).ready
    health.beat()
    assert only(run_dir).ready


def test_a_worker_that_is_past_saving_says_why(run_dir: Path) -> None:
    health = Health(run_dir)
    health.loaded("me")
    health.failed("cuda:0 broke: CUDA error")
    status = only(run_dir)
    assert (status.live, status.loaded, status.error) == (False, False, "cuda:0 broke: CUDA error")


def test_a_worker_says_how_many_messages_it_refused_and_why(run_dir: Path) -> None:
    health = Health(run_dir)
    before = only(run_dir).refused.get("too_large", 0)
    refusals.add("too_large", "too_large: 2000000 characters")
    health.beat()
    assert only(run_dir).refused["too_large"] == before + 1
    _, (row,) = asked()
    assert row["refused"]["too_large"] == before + 1
    assert f"too_large {before + 1}" in CliRunner().invoke(root, ["health"]).output


def test_what_a_later_release_says_beside_is_passed_over(run_dir: Path, edit: Callable[..., None]) -> None:
    Health(run_dir)
    edit(mood="good")
    assert only(run_dir).live


def test_processes_that_are_gone_are_not_counted(run_dir: Path, edit: Callable[..., None]) -> None:
    Health(run_dir)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    edit(pid=gone.pid)
    assert statuses(run_dir, 60) == []


def test_a_later_process_with_the_same_number_is_another(run_dir: Path, edit: Callable[..., None]) -> None:
    Health(run_dir)
    edit(born="1")
    assert statuses(run_dir, 60) == []


def test_nothing_is_left_of_a_worker_that_ended(run_dir: Path) -> None:
    Health(run_dir).remove()
    assert list(run_dir.iterdir()) == []


def test_what_others_left_in_the_folder_is_no_worker(run_dir: Path) -> None:
    run_dir.mkdir()
    for name, content in {"worker-1.json": "", "worker-2.json": "[1]", "worker-3.json": '{"pid": 1, "x": 2}'}.items():
        (run_dir / name).write_text(content)
    assert statuses(run_dir, 60) == []


def test_a_disk_that_takes_nothing_is_logged_and_kills_nobody(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_dir.write_text("a file where the folder should be")
    Health(run_dir).beat()
    assert "cannot be written" in caplog.text


def test_the_command_exits_with_what_is_asked_for(run_dir: Path, edit: Callable[..., None]) -> None:
    assert asked() == (1, [])
    health = Health(run_dir)
    assert [asked(option)[0] for option in ("--live", "--loaded", "--ready")] == [0, 1, 1]
    health.loaded("me")
    assert [asked(option)[0] for option in ("--live", "--loaded", "--ready")] == [0, 0, 1]
    assert asked()[0] == 1
    health.consuming(consuming=True)
    assert [asked(option)[0] for option in ("--live", "--loaded", "--ready")] == [0, 0, 0]
    assert asked()[0] == 0
    edit(beat=time.monotonic() - 1000)
    code, (row,) = asked("--live")
    assert code == 1
    assert (row["pid"], row["owner"], row["live"], row["ready"], row["error"]) == (
        os.getpid(),
        "me",
        False,
        False,
        None,
    )
