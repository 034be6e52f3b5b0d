"""Connections that are silent do not stay, and do not keep others out: a real uvicorn on real sockets."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from db.serving.bounded_protocol import HEADER_BYTES, bounded_config, bounded_protocol

HEADER_TIMEOUT_S = 0.5
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def port() -> Iterator[int]:
    """A server that takes five connections, and gives each half a second for its headers."""

    async def answer(request: Request) -> PlainTextResponse:
        await request.body()
        return PlainTextResponse("well")

    app = Starlette(routes=[Route("/", answer, methods=["GET", "POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(bounded_config(app, bounded_protocol(HEADER_TIMEOUT_S, 5)))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listener.close()


@contextlib.contextmanager
def connected(port: int, *sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        for part in sent:
            connection.sendall(part)
        yield connection


def received(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection; a reset is an end, too."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


def assert_answered(connection: socket.socket) -> None:
    found = b""
    while not found.endswith(b"well"):
        part = connection.recv(65536)
        assert part, found
        found += part
    assert b"200 OK" in found


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_a_half_sent_request_is_closed_after_its_time(port: int, sent: bytes) -> None:
    began = time.monotonic()
    with connected(port, sent) as connection:
        assert received(connection) == b""
    assert time.monotonic() - began < HEADER_TIMEOUT_S + 20


def test_a_byte_now_and_then_does_not_prolong_it(port: int) -> None:
    with connected(port, b"GET / HTTP/1.1\r\n") as connection:
        connection.settimeout(0.1)
        for _ in range(40):
            try:
                connection.sendall(b"X")
                if connection.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
        pytest.fail("the connection stayed open for four seconds")


def test_a_whole_request_is_answered_and_the_next_one_has_its_own_time(port: int) -> None:
    with connected(port, WHOLE) as connection:
        assert_answered(connection)
        time.sleep(HEADER_TIMEOUT_S * 2)
        connection.sendall(WHOLE)
        assert_answered(connection)
        connection.sendall(b"GET / HT")
        assert received(connection) == b""


def test_connections_that_are_silent_keep_nobody_out(port: int) -> None:
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(connected(port, b"GET / HT"))
        with connected(port, WHOLE) as connection:
            assert_answered(connection)


def test_connections_that_are_kept_open_keep_nobody_out(port: int) -> None:
    with contextlib.ExitStack() as kept:
        for _ in range(5):
            assert_answered(kept.enter_context(connected(port, WHOLE)))
        with connected(port, WHOLE) as connection:
            assert_answered(connection)


def test_headers_that_are_too_long_are_refused(port: int) -> None:
    with connected(port, WHOLE[:-2] + b"X: " + b"x" * (HEADER_BYTES * 2)) as connection:
        assert b"400 Bad Request" in received(connection)
