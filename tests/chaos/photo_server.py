"""A photo host on this machine that answers well, stalls, lies about lengths, resets, dribbles or is busy."""

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.chaos.kinds import Upload
from tests.chaos.pictures import Pictures

#: A client that has hung up for so long is not waited for.
_PATIENCE_S = 60.0
#: Times that a flaky photo is refused before it is served.
_REFUSALS = 1


class PhotoHost(ThreadingHTTPServer):
    """Serves ``/KIND/IMAGE_ID``; refuses everything while ``away`` is set."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, pictures: Pictures) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pictures = pictures
        self.asked: Counter[str] = Counter()
        self.away = threading.Event()

    @property
    def netloc(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def photo_host(pictures: Pictures) -> Iterator[PhotoHost]:
    """A server that runs."""
    host = PhotoHost(pictures)
    thread = threading.Thread(target=host.serve_forever, name="photo host", daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        host.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: PhotoHost
    timeout = _PATIENCE_S

    def do_GET(self) -> None:
        kind, _, image_id = self.path.strip("/").partition("/")
        self.server.asked[image_id] += 1
        pictures = self.server.pictures
        data = pictures.harmful.get(kind) or pictures.good[Upload.of(image_id).picture]
        with suppress(OSError):  # the worker hung up, or was killed
            (_reset if self.server.away.is_set() else _BEHAVIOURS.get(kind, _serve))(self, data)
        self.close_connection = True

    def send_photo(self, data: bytes, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name for it
        """Say nothing."""


def _serve(handler: _Handler, data: bytes) -> None:
    handler.send_photo(data, len(data))


def _flaky(handler: _Handler, data: bytes) -> None:
    refused = handler.server.asked[handler.path.rpartition("/")[2]] <= _REFUSALS
    (_busy if refused else _serve)(handler, data)


def _half(handler: _Handler, data: bytes) -> None:
    handler.send_photo(data[: len(data) // 2], len(data) // 2)


def _cut(handler: _Handler, data: bytes) -> None:
    """Sends more than it says."""
    handler.send_photo(data, len(data) // 2)


def _short(handler: _Handler, data: bytes) -> None:
    """Says more than it sends."""
    handler.send_photo(data, len(data) + 1000)


def _page(handler: _Handler, _data: bytes) -> None:
    page = b"<!doctype html><title>Log in</title>"
    handler.send_photo(page, len(page))


def _missing(handler: _Handler, _data: bytes) -> None:
    handler.send_error(404)


def _busy(handler: _Handler, _data: bytes) -> None:
    handler.send_error(503)


def _moved(handler: _Handler, _data: bytes) -> None:
    handler.send_response(302)
    handler.send_header("Location", "http://169.254.169.254/latest/meta-data/")
    handler.end_headers()


def _endless(handler: _Handler, data: bytes) -> None:
    handler.send_photo(data, 1 << 40)
    while True:
        handler.wfile.write(bytes(1 << 20))


def _stall(handler: _Handler, _data: bytes) -> None:
    """Never answers: waits until the other side hangs up."""
    handler.connection.recv(1)


def _dribble(handler: _Handler, data: bytes) -> None:
    handler.send_photo(b"", len(data))
    for byte in data:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def _reset(handler: _Handler, _data: bytes) -> None:
    """Closes with a TCP reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


_BEHAVIOURS: dict[str, Callable[[_Handler, bytes], None]] = {
    "flaky": _flaky,
    "half": _half,
    "cut": _cut,
    "short": _short,
    "page": _page,
    "missing": _missing,
    "busy": _busy,
    "moved": _moved,
    "endless": _endless,
    "stall": _stall,
    "dribble": _dribble,
    "reset": _reset,
}
