"""A site that serves photos, and what names lead to."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.photo_sites import Site, serving


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as site:
        yield site


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``names("a.example", ["10.0.0.1"], ["127.0.0.1"])``: what the resolver answers the first time, and then."""
    real: Callable[..., list[Any]] = socket.getaddrinfo

    def answer(name: str, *times: list[str]) -> list[str]:
        asked: list[str] = []

        def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> list[Any]:
            if host != name:
                return real(host, port, *arguments, **options)
            asked.append(name)
            found = times[min(len(asked), len(times)) - 1]
            return [found for address in found for found in real(address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        return asked

    return answer
