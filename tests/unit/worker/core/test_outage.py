"""Work in hand outlasts a database that is away, says so now and then, and gives up only when it is told to."""

import logging
import threading

import pytest

from db.errors import DatabaseError, DatabaseUnavailableError
from worker.core.errors import BrokerError
from worker.core.outage import FaultLog, Part, RetryUntilUp, faults


def test_it_tries_again_until_it_succeeds_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.core.outage._PAUSE_S", 0.001)
    heard: list[int] = []

    def work(tries: int) -> str:
        heard.append(tries)
        if tries < 5:
            raise DatabaseUnavailableError("database x: connection refused")
        return "written"

    with caplog.at_level(logging.INFO):
        assert RetryUntilUp(threading.Event())(work) == "written"
    assert heard == [0, 1, 2, 3, 4, 5]
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "work waits for the database: database x: connection refused"),
        ("INFO", "work waits for the database: recovered"),
    ]
    assert faults.by_part() == {}


@pytest.mark.parametrize(
    ("part", "error", "expected"),
    [
        (None, DatabaseUnavailableError("database x: gone"), {"record": "database x: gone"}),
        (None, BrokerError("broker y: gone"), {"broker": "broker y: gone"}),
        ("model", ValueError("no memory"), {"model": "no memory"}),
        ("disk", OSError(28, "No space left on device"), {"disk": "[Errno 28] No space left on device"}),
        (None, ValueError("a bug"), {}),
    ],
)
def test_a_fault_lasts_until_its_work_succeeds_and_its_recovery_is_logged_once_at_info(
    caplog: pytest.LogCaptureFixture, part: Part | None, error: Exception, expected: dict[str, str]
) -> None:
    fault = FaultLog(logging.getLogger("test"), "work", part)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            fault.raised(error)
        assert faults.by_part() == expected
        for _ in range(3):
            fault.cleared()
    assert faults.by_part() == {}
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", f"work: {error}"),
        ("INFO", "work: recovered"),
    ]


def test_what_the_database_refuses_is_not_tried_again() -> None:
    heard: list[int] = []

    def work(tries: int) -> None:
        heard.append(tries)
        raise DatabaseError("database x: no such image")

    with pytest.raises(DatabaseError):
        RetryUntilUp(threading.Event())(work)
    assert heard == [0]


def test_it_gives_up_at_once_when_it_is_told_to() -> None:
    given_up = threading.Event()

    def work(tries: int) -> None:
        if tries == 2:
            given_up.set()
        raise DatabaseUnavailableError("database x: connection refused")

    with pytest.raises(DatabaseUnavailableError):
        RetryUntilUp(given_up)(work)
