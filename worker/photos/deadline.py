"""Connections whose timeout is for all of an answer. requests' own is for each read, and a byte a second never ends.

An answer's status line, headers, body and trailers are read through here, plain or through TLS, and counted: what
http.client reads by itself, such as a chunk of negative length, would otherwise go on for as long as the line is fast.
OpenSSL keeps the socket's timeout for the whole of a handshake by itself.
"""

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS

#: Bytes of one answer: a photo's with its headers, and some for chunks.
MAX_ANSWER = LIMITS.max_bytes + LIMITS.max_bytes // 4


class _TimedReader(io.RawIOBase):
    """A socket's bytes until a deadline, and a TimeoutError after it; `Rejected` after too many."""

    def __init__(self, sock: socket.socket, inner: io.RawIOBase, deadline: float) -> None:
        self._sock = sock
        self._inner = inner
        self._deadline = deadline
        self._left = MAX_ANSWER

    def readable(self) -> bool:
        """It is; io asks."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """As many bytes as have come, or wait for some, but not past the deadline."""
        self._sock.settimeout(_remaining(self._deadline))
        count: int | None = self._inner.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise Rejected("too_many_bytes", f"{LIMITS.max_bytes} bytes", "more")
        return count

    def close(self) -> None:
        """Let go of the socket."""
        self._inner.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """An answer that must have come whole within the socket's timeout, from now on."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        timeout_s = sock.gettimeout()
        if timeout_s is None:
            raise ValueError("a download without a timeout")
        self.fp: Any = io.BufferedReader(_TimedReader(sock, self.fp.detach(), time.monotonic() + timeout_s))


class _TimedHTTPConnection(HTTPConnection):
    response_class = _TimedResponse


class _TimedHTTPSConnection(HTTPSConnection):
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        """Of the time to connect, leave the handshake what is left."""
        start = time.monotonic()
        sock = super()._new_conn()
        timeout_s = sock.gettimeout()
        if timeout_s is not None:
            sock.settimeout(_remaining(start + timeout_s))
        return sock


class _TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _TimedHTTPConnection


class _TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedHTTPSConnection


#: For a urllib3 ``PoolManager``.
TIMED_POOLS: dict[str, Any] = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}


def _remaining(deadline: float) -> float:
    """Seconds, more than none: a timeout of 0 would mean not to wait at all."""
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("timed out")
    return remaining_s
