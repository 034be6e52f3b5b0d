"""Web sites on this machine that serve photos, and a fetcher that may ask them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest

from worker.core.errors import FetchError
from worker.core.settings import FetchSettings
from worker.photos.fetcher import Fetcher

PHOTO = b"\xff\xd8 as good as any photo, for whoever only carries it"
#: For reads that must end; a test that needs longer has failed.
PATIENCE_S = 30
#: This machine, which is where our sites are.
OURS = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Handler(BaseHTTPRequestHandler):
    """Answers a path as its site says."""

    protocol_version = "HTTP/1.1"
    server: "Site"

    def do_GET(self) -> None:
        target = self.requestline.split(" ")[1]  # self.path has fewer slashes
        self.server.asked.append((target, dict(self.headers)))
        self.close_connection = not self.server.keeps
        self.server.answers[target](self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Nothing: what was asked is in ``asked``."""

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        if not self.server.keeps:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


class Site(ThreadingHTTPServer):
    """A web site on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        self.keeps = False
        self.connections = 0
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        self.host = f"127.0.0.1:{self.server_port}"

    def process_request(self, *arguments: Any) -> None:
        """Each connection, counted."""
        self.connections += 1
        super().process_request(*arguments)

    def handle_error(self, *_: object) -> None:
        """Nothing: that clients hang up is what some tests are about."""

    def url(self, answer: Callable[[Handler], None]) -> str:
        """The URL of an answer."""
        path = f"/photo-{len(self.answers)}.jpg"
        self.answers[path] = answer
        return f"{self.scheme}://{self.host}{path}"


@dataclass(frozen=True)
class Drip:
    """Sends its head, and then a little now and then for as long as anybody listens."""

    name: str
    head: bytes
    drop: bytes = b"x"
    every_s: float = field(default=0.02)

    def __call__(self, handler: Handler) -> None:
        handler.wfile.write(self.head)
        while not handler.server.closing.wait(self.every_s):
            handler.wfile.write(self.drop)


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    with site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield site
        finally:
            site.closing.set()
            site.shutdown()
            thread.join()


def fetcher(*hosts: str, timeout_s: float = PATIENCE_S, **settings: Any) -> Fetcher:
    ours = {"allow_http": True, "allow_private_addresses": OURS}
    return Fetcher(FetchSettings(allowed_hosts=hosts, fetch_timeout_s=timeout_s, **ours | settings))


def refused(fetch: Fetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch.fetch(url)
    assert "\n" not in str(caught.value)
    return caught.value
