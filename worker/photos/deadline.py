"""HTTP connections whose timeout covers the whole answer. requests' own covers one read: a byte a second never ends.

Status line, headers, body and trailers are read through here, plain or through TLS, and counted: otherwise what
http.client reads by itself, such as a chunk of negative length, would go on for as long as the line is fast. OpenSSL
itself applies the socket's timeout to the whole handshake.
"""

import io
import socket
import time
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS
from worker.photos.request_target import ExactTargetConnection

#: Bytes in one answer: a photo, its headers, and the overhead of chunks.
MAX_ANSWER = LIMITS.max_bytes + LIMITS.max_bytes // 4


class _TimedReader(io.RawIOBase):
    """Reads a socket until a deadline; then raises TimeoutError, and `Rejected` after too many bytes."""

    def __init__(self, sock: socket.socket, inner: io.RawIOBase, deadline: float) -> None:
        self._sock = sock
        self._inner = inner
        self._deadline = deadline
        self._left = MAX_ANSWER

    def readable(self) -> bool:
        """Always true: `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the bytes that have come, or wait for some until the deadline; raises TimeoutError or `Rejected`."""
        self._sock.settimeout(_remaining(self._deadline))
        count: int | None = self._inner.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise Rejected("too_many_bytes", f"{LIMITS.max_bytes} bytes", "more")
        return count

    def close(self) -> None:
        """Release the socket."""
        self._inner.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """An answer that must arrive whole within the socket's timeout, counted from now."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        timeout_s = sock.gettimeout()
        if timeout_s is None:
            raise ValueError("a download needs a timeout on its socket")
        self.fp: Any = io.BufferedReader(_TimedReader(sock, self.fp.detach(), time.monotonic() + timeout_s))

    def begin(self) -> None:
        """Read status and headers; after an interim answer (103, say) the connection still owes the answer: end it.

        http.client takes interim answers but 100 for final ones, and the next photo would be this one's late answer.
        """
        super().begin()
        if self.status < HTTPStatus.OK:
            self.will_close = True


class _TimedHTTPConnection(ExactTargetConnection):
    response_class = _TimedResponse


class _TimedHTTPSConnection(ExactTargetConnection, HTTPSConnection):
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        """Leave the handshake what connecting left of the timeout."""
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


class TimedAdapter(HTTPAdapter):
    """A `requests` adapter whose timeout covers the whole answer."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Build the pool manager from pools that keep the deadline."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}


def _remaining(deadline: float) -> float:
    """Seconds left, above zero (a timeout of 0 would mean not to wait at all); raises TimeoutError."""
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("timed out")
    return remaining_s
