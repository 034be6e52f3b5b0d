"""Work in hand outlasts a database that is away, says so now and then, and gives up only when it is told to."""

import logging
import threading

import pytest

from db.errors import DatabaseAwayError, DatabaseError
from worker.core.outage import Outage


def test_it_tries_again_until_it_succeeds_and_says_so_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.core.outage._PAUSE_S", 0.001)
    heard: list[int] = []

    def work(tries: int) -> str:
        heard.append(tries)
        if tries < 5:
            raise DatabaseAwayError("database x: connection refused")
        return "written"

    with caplog.at_level(logging.WARNING):
        assert Outage(threading.Event()).outlast(work) == "written"
    assert heard == [0, 1, 2, 3, 4, 5]
    assert [record.message for record in caplog.records] == [
        "work in hand waits: database x: connection refused",
        "work in hand waits no more",
    ]


def test_what_the_database_refuses_is_not_tried_again() -> None:
    heard: list[int] = []

    def work(tries: int) -> None:
        heard.append(tries)
        raise DatabaseError("database x: no such image")

    with pytest.raises(DatabaseError):
        Outage(threading.Event()).outlast(work)
    assert heard == [0]


def test_it_gives_up_at_once_when_it_is_told_to() -> None:
    given_up = threading.Event()

    def work(tries: int) -> None:
        if tries == 2:
            given_up.set()
        raise DatabaseAwayError("database x: connection refused")

    with pytest.raises(DatabaseAwayError):
        Outage(given_up).outlast(work)
