"""Limits on connections: uvicorn limits neither the time for headers nor the number of idle connections."""

import asyncio
from typing import Any

import h11
from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Maximum bytes of a request's line and headers together.
HEADER_BYTES = 16 * 1024
#: Seconds for which the server reads and discards the rest of a refused body, so that the client can read the answer.
_LINGER_S = 5.0


class BoundedProtocol(H11Protocol):
    """A connection with a time limit for headers. When there are too many, the longest idle one is closed."""

    header_timeout_s = 10.0
    max_connections = 1024

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Start the time limit for headers; close an idle connection when there are too many."""
        super().connection_made(transport)
        self._allow(self.header_timeout_s)
        if len(self.connections) > self.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process bytes. The deadline ends with the headers; each further request has its own."""
        if self._is_idle and self._deadline is None:
            self._allow(self.header_timeout_s)
        super().data_received(data)
        if not self._is_idle:
            self._disarm()

    def on_response_complete(self) -> None:
        """Start the time limit for the rest of the request's body, if it has not arrived."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self._allow(_LINGER_S)

    @property
    def _is_idle(self) -> bool:
        """Whether the connection has no current request."""
        return self.cycle is None or self.cycle.response_complete

    def _allow(self, seconds: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(seconds, self._close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.abort()

    def _make_room(self) -> None:
        """Close the connection that has waited longest for its headers, to make room for another."""
        idle = [each for each in self.connections if isinstance(each, BoundedProtocol) and each._is_idle]  # noqa: SLF001 - of this class
        min(idle, key=BoundedProtocol._ends_at, default=self)._close()  # noqa: SLF001 - the same

    def _ends_at(self) -> float:
        """When the time for headers ends; 0 for a connection that is kept open between requests."""
        return self._deadline.when() if self._deadline is not None else 0.0


def bounded_protocol(header_timeout_s: float, max_connections: int) -> type[BoundedProtocol]:
    """A subclass with these limits: uvicorn takes a class and no arguments."""
    limits = {"header_timeout_s": header_timeout_s, "max_connections": max_connections}
    return type("BoundedProtocol", (BoundedProtocol,), limits)


def bounded_config(app: ASGIApp, protocol: type[BoundedProtocol], **more: Any) -> Config:
    """The configuration that our servers share: bounded connections, no websockets, no trust in proxies' headers."""
    return Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        h11_max_incomplete_event_size=HEADER_BYTES,
        **more,
    )
