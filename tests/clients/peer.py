"""A server at the other end of an HTTP client: it answers what a test tells it to, and keeps what it was asked."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; ``delay_s`` before it. The body may depend on the request's."""

    status: int = 200
    body: bytes | Callable[[bytes], bytes] = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay_s: float = 0.0


def pending(asked: bytes) -> bytes:
    """The body of an answer that an image with an id of the client's own making waits."""
    [image_id] = re.findall(rb'image_id"(?:: ?"|\r\n\r\n)([0-9a-f]{32})', asked)  # of JSON, or of a form
    return b'{"image_id": "%s", "state": "pending"}' % image_id


class Peer(ThreadingHTTPServer):
    """Gives the next of ``answers`` to each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[Asked] = []
        self.answers: list[Answer] = []
        self.gone = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests have no use for it."""

    def _answer(self) -> None:
        peer = self.server
        assert isinstance(peer, Peer)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        peer.asked.append(Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        answer = peer.answers.pop(0)
        if peer.gone.wait(answer.delay_s):
            return
        self.send_response(answer.status)
        said = answer.body if isinstance(answer.body, bytes) else answer.body(body)
        for name, value in {**answer.headers, "Content-Length": str(len(said))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - so http.server calls them


@contextmanager
def listening() -> Iterator[Peer]:
    """A peer that listens until the end of the block."""
    with Peer() as peer:
        thread = threading.Thread(target=peer.serve_forever, args=[0.01])
        thread.start()
        try:
            yield peer
        finally:
            peer.gone.set()
            peer.shutdown()
            thread.join()
