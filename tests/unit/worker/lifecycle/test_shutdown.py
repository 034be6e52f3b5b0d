"""A worker ends within its time, whatever hangs; what it had in hand is given back, and its exit status says why."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.lifecycle.shutdown import BROKEN, HURRIED, Shutdown
from worker.telemetry.health import Health, statuses

PATIENCE_S = 30
PROJECT = Path(__file__).parents[4]


class Held:
    """What is in hand; remembers how it was given back."""

    def __init__(self, error: Exception | None = None, *, hangs: bool = False) -> None:
        self.lost: bool | None = None
        self._error = error
        self._hangs = hangs

    def release_leases(self, *, lost: bool) -> None:
        self.lost = lost
        if self._hangs:
            threading.Event().wait()
        if self._error is not None:
            raise self._error


def idle() -> None:
    """Nothing works beside."""


class Exit:
    """Where the process would have ended."""

    def __init__(self) -> None:
        self.status: int | None = None
        self._left = threading.Event()

    def __call__(self, status: int) -> None:
        self.status = status
        self._left.set()

    def wait(self, timeout_s: float = PATIENCE_S) -> bool:
        return self._left.wait(timeout_s)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The handlers of the tests' own process, as they were."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_what_is_not_done_in_time_is_given_back_and_the_exit_is_clean(tmp_path: Path) -> None:
    held, left = Held(), Exit()
    Shutdown(idle, held.release_leases, Health(tmp_path), 0.05, left).begin()
    assert left.wait()
    assert (left.status, held.lost) == (0, False)
    assert statuses(tmp_path, 60) == []


@pytest.mark.parametrize("pause_s", [0.2, 0.0])
def test_a_second_signal_gives_up_at_once(pause_s: float, tmp_path: Path) -> None:
    """In a process of its own, as it is. Without a pause, some arrive while the handler of another is at work."""
    script = """
        import signal, sys, threading
        from pathlib import Path
        from worker.lifecycle.shutdown import Shutdown
        from worker.telemetry.health import Health

        stopped = [threading.Event() for _ in range(50)]
        ending = Shutdown(lambda: [each.set() for each in stopped], lambda lost: None, Health(Path(sys.argv[1])), 3600)
        told = []
        signal.signal(signal.SIGTERM, lambda *_: told or told.append(ending.begin()))
        print("ready", flush=True)
        while True:
            threading.Event().wait(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        for _ in range(100):
            time.sleep(pause_s)
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == HURRIED


def test_a_second_signal_that_celery_gets_gives_up_at_once_too(tmp_path: Path) -> None:
    held, left = Held(), Exit()
    ending = Shutdown(idle, held.release_leases, Health(tmp_path), 3600, left)
    ending.begin()
    assert not left.wait(0.2)
    ending.begin()
    assert left.wait()
    assert left.status == HURRIED


def test_a_device_that_broke_ends_it_at_once_with_another_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held, left = Held(), Exit()
    Shutdown(idle, held.release_leases, Health(tmp_path), 3600, left).fail("cuda:0 broke")
    assert left.wait()
    assert (left.status, held.lost) == (BROKEN, True)
    assert "this worker ends: cuda:0 broke" in caplog.text


@pytest.mark.parametrize("held", [Held(hangs=True), Held(RuntimeError("away"))], ids=["hangs", "raises"])
def test_a_database_that_does_not_answer_keeps_nobody(held: Held, tmp_path: Path) -> None:
    left = Exit()
    Shutdown(idle, held.release_leases, Health(tmp_path), 0.05, left).begin()
    assert left.wait()
    assert left.status == 0


def test_nothing_happens_to_a_worker_that_is_left_alone(tmp_path: Path) -> None:
    left = Exit()
    Shutdown(idle, Held().release_leases, Health(tmp_path), 0.01, left)
    assert not left.wait(0.2)
