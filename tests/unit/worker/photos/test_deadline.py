"""One deadline for connecting, the handshake and the whole answer."""

import socket
import time
from typing import Any

import pytest
from urllib3.connection import HTTPSConnection

from worker.photos.deadline import TimedAdapter

POOLS: Any = TimedAdapter().poolmanager.pool_classes_by_scheme


def test_of_the_time_to_connect_the_handshake_gets_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()

    def slow(_connection: Any) -> socket.socket:
        ours.settimeout(30)
        time.sleep(0.1)
        return ours

    monkeypatch.setattr(HTTPSConnection, "_new_conn", slow)
    pool = POOLS["https"]("photos.example", 443)
    connection: Any = pool.ConnectionCls("photos.example", 443)
    left_s = connection._new_conn().gettimeout()  # noqa: SLF001 - what urllib3 calls before the handshake
    ours.close()
    theirs.close()
    assert 0 < left_s <= 29.9


def test_an_answer_without_any_deadline_is_a_mistake() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="a download needs a timeout"):
        POOLS["http"].ConnectionCls.response_class(ours)
