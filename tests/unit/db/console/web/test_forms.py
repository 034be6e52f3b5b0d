"""Forms end in time and size, whatever a browser sends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import Request
from starlette.types import Message

from db.console.web.forms import FormError, read_form


def request(receive: Callable[[], Awaitable[Message]]) -> Request:
    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_a_form_that_never_ends_is_given_up() -> None:
    async def byte_now_and_then() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"a", "more_body": True}

    with pytest.raises(FormError, match=r"did not arrive within 0.1 seconds"):
        asyncio.run(read_form(request(byte_now_and_then), 0.1))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"a" * 70_000, "more than 65536 bytes"),
        (b"note=" + b"x" * 20_001, "more than 20000 characters"),
        (b"&".join(b"a=" for _ in range(101)), "more than 100 fields"),
        (b"a=%ff", "cannot be read"),
    ],
)
def test_a_form_that_is_too_large_or_unreadable_is_refused(body: bytes, said: str) -> None:
    async def whole() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    with pytest.raises(FormError, match=said):
        asyncio.run(read_form(request(whole), 5))
