"""Whatever stands in a request's head, the answer is the door's own, and nothing of it is taken for something else."""

import gzip
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.db.api.doors import Door

Rows = Callable[[str], list[Any]]
BODY = b'{"account_id": "a", "url": "https://cdn.example.com/a.jpg"}'
JSON = b"Content-Type: application/json"
LENGTH = b"Content-Length: %d" % len(BODY)
#: A second request, hidden where a proxy may see none.
HIDDEN = b"0\r\n\r\nDELETE /v1/images/a HTTP/1.1\r\nHost: d\r\n\r\n"


def ask(door: Door, *headers: bytes, body: bytes = BODY) -> bytes:
    """Everything that the door answers until it closes the connection."""
    head = [b"POST /v1/images HTTP/1.1", b"Host: d", b"Authorization: Bearer " + door.key.encode(), *headers]
    with door.connect() as connection:
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + body)
        return b"".join(iter(lambda: _received(connection), b""))


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def status(answer: bytes) -> int:
    return int(answer.split(maxsplit=2)[1])


@pytest.mark.parametrize(
    "headers",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: +5"],
        [b"Content-Length: 0x5"],
        [b"Content-Length: " + "\u0665".encode()],
        [b"Content-Length: 99999999999999999999999999"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: identity"],
    ],
)
def test_a_body_whose_end_can_be_read_in_two_ways_is_refused_and_the_connection_ends(
    door: Door, rows: Rows, headers: list[bytes]
) -> None:
    answer = ask(door, JSON, *headers, body=HIDDEN)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answer.lower()
    assert rows("SELECT id FROM images") == []


@pytest.mark.parametrize(
    "header",
    [b"X: a\x00b", b"X: a\rb", b"X y: z", b"\xff: z", b"Host: e", b"X" * 300_000],
    ids=["NUL", "CR", "space", "latin", "host", "long"],
)
def test_a_header_that_is_none_is_refused(door: Door, rows: Rows, header: bytes) -> None:
    answer = ask(door, JSON, LENGTH, header)
    assert answer == b"" or status(answer) in (400, 431)
    assert rows("SELECT id FROM images") == []


@pytest.mark.parametrize(
    "header",
    [
        b"Prefer: wait=-1", b"Prefer: wait=nan", b"Prefer: wait=" + b"9" * 5000, b"Prefer: wait=\xb2",
        b"X-Request-Id: a\x1b[31m", b"X-Request-Id: " + b"x" * 5000, b"X-Forwarded-For: " + b"1," * 3000,
        b"Expect: magic", b"Upgrade: h2c\r\nConnection: Upgrade", b"X: a\r\n  folded", b"Cookie: \xff\xfe",
    ],
)  # fmt: skip
def test_a_header_that_means_nothing_here_changes_nothing(door: Door, rows: Rows, header: bytes) -> None:
    answer = ask(door, JSON, LENGTH, b"Connection: close", header)
    assert status(answer) == 202
    assert b"\x1b" not in answer
    assert len(rows("SELECT id FROM images")) == 1


@pytest.mark.parametrize("coding", ["gzip", "br", "x-gzip, identity", "\xe9"])
@pytest.mark.parametrize("kind", ["application/json", "image/jpeg"])
def test_a_packed_body_is_refused_and_not_stored(door: Door, rows: Rows, coding: str, kind: str) -> None:
    headers = {"Content-Type": kind, "Content-Encoding": coding.encode("latin-1")}
    answer = door.ask("POST", "/v1/images?account_id=a", data=gzip.compress(BODY), headers=headers)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")
    assert "Content-Encoding" in answer.json()["detail"]
    assert rows("SELECT id FROM images") == []


def test_a_field_that_is_given_twice_is_refused_rather_than_guessed(door: Door, rows: Rows) -> None:
    query = "/v1/images?account_id=a&account_id=b"
    answers = [
        door.ask("POST", query, data=b"x", headers={"Content-Type": "image/jpeg"}),
        door.ask("POST", "/v1/images", data=[("account_id", "a"), ("account_id", "b")], files={"photo": b"x"}),
    ]
    assert [(answer.status_code, answer.json()["detail"]) for answer in answers] == [
        (422, "the field 'account_id' is given twice: send it once")
    ] * 2
    assert rows("SELECT id FROM images") == []
