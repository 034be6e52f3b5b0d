"""Bytes come from an allowed host at an allowed address, in time and within limits, or with a reason."""

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS
from worker.core.errors import FetchError
from worker.core.settings import FetchSettings
from worker.photos.fetcher import Fetcher

PHOTO = b"\xff\xd8 as good as any photo, for whoever only carries it"
#: For reads that must end; a test that needs longer has failed.
PATIENCE_S = 30
#: This machine, which is where our sites are.
OURS = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
Answers = Callable[..., list[Any]]


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


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as site:
        yield site


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """``names("a.example", ["10.0.0.1"], ["127.0.0.1"])``: what the resolver answers the first time, and then."""
    real: Answers = socket.getaddrinfo

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


def fetcher(*hosts: str, timeout_s: float = PATIENCE_S, **settings: Any) -> Fetcher:
    ours = {"allow_http": True, "allow_private_addresses": OURS}
    return Fetcher(FetchSettings(allowed_hosts=hosts, fetch_timeout_s=timeout_s, **ours | settings))


def refused(fetch: Fetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch.fetch(url)
    assert "\n" not in str(caught.value)
    return caught.value


# By HTTP


def test_a_photo_comes_as_it_is(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    assert fetcher(site.host).fetch(url) == PHOTO
    ((path, headers),) = site.asked
    assert path == "/photo-0.jpg"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"] == "unmask"


def test_a_url_that_is_not_quoted_is_asked_for_all_the_same(site: Site) -> None:
    site.answers["/a%20b/%C3%BC.jpg?x=1"] = lambda handler: handler.answer(200, PHOTO)
    assert fetcher(site.host).fetch(f"http://{site.host}/a b/ü.jpg?x=1#here") == PHOTO


def test_a_photo_in_chunks_comes_whole(site: Site) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for byte in PHOTO:
            handler.wfile.write(b"1\r\n%c\r\n" % byte)
        handler.wfile.write(b"0\r\n\r\n")

    assert fetcher(site.host).fetch(site.url(answer)) == PHOTO


def test_neither_proxies_nor_netrc_of_the_machine_are_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    assert fetcher(site.host).fetch(url) == PHOTO
    assert "Authorization" not in site.asked[0][1]


def test_a_page_instead_of_a_photo_passes_for_the_decoder_to_judge(site: Site) -> None:
    page = b"<!doctype html><title>Not found</title>"
    url = site.url(lambda handler: handler.answer(200, page, Content_Type="text/html"))
    assert fetcher(site.host).fetch(url) == page


TARGETS = [
    "/a%3ab%7Ec%7e%2f%2F.jpg",
    "/a/./b/../c//d/.jpg",
    "//two/slashes.jpg",
    "/w:100,h:[200]|q/plain/s3://bucket/a.jpg",
    '/a.jpg?X-Amz-Signature=ab%2Fcd+ef==&x={y}^`"<>',
    "/a.jpg?",
    "/a.jpg??b=?c",
    "/100%/zz%zz.jpg",
    "/a;b=c;d/e.jpg",
    "/~ada/a'b*(c)!.jpg",
    "?only=query",
    "",
]


@pytest.mark.parametrize("target", TARGETS)
def test_what_stands_in_the_url_goes_on_the_wire_unchanged(site: Site, target: str) -> None:
    asked = target if target.startswith("/") else f"/{target}"
    site.answers[asked] = lambda handler: handler.answer(200, PHOTO)
    assert fetcher(site.host).fetch(f"http://{site.host}{target}#fragment") == PHOTO
    ((path, headers),) = site.asked
    assert path == asked
    assert headers["Host"] == site.host
    assert ":path" not in headers


@pytest.mark.parametrize("target", [target for target in TARGETS if target.startswith("/") and target[1] != "/"])
def test_what_stands_in_a_redirect_goes_on_the_wire_unchanged(site: Site, target: str) -> None:
    site.answers[target] = lambda handler: handler.answer(200, PHOTO)
    fetch = fetcher(site.host)
    for location in (target, f"http://{site.host}{target}", f"//{site.host}{target}"):
        assert fetch.fetch(site.url(redirect(location))) == PHOTO


NOT_YET, LATER, NEVER = "not yet", "later", "never"
STATUSES = {
    **dict.fromkeys(range(204, 600), ("http_status", NEVER)),
    **dict.fromkeys(range(500, 600), ("http_status", LATER)),
    201: ("http_status", NEVER),
    202: ("http_status", NOT_YET),
    203: ("http_status", NEVER),
    401: ("access_denied", NEVER),
    403: ("access_denied", NEVER),
    404: ("not_found", NOT_YET),
    408: ("http_status", LATER),
    410: ("not_found", NEVER),
    423: ("http_status", NOT_YET),
    425: ("http_status", NOT_YET),
    429: ("http_status", LATER),
    999: ("http_status", LATER),
}


def answering(status: int, **headers: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(status, b"", **headers)


def test_every_status_but_200_is_a_reason_and_some_may_pass(site: Site) -> None:
    fetch, found = fetcher(site.host), {}
    for status in STATUSES:
        error = refused(fetch, site.url(answering(status)))
        assert error.detail.startswith(f"HTTP {status}")
        assert not (error.transient and error.not_yet)
        found[status] = (error.reason, LATER if error.transient else NOT_YET if error.not_yet else NEVER)
    assert found == STATUSES


def test_an_expired_signature_says_that_a_fresh_url_helps(site: Site) -> None:
    error = refused(fetcher(site.host), site.url(lambda handler: handler.answer(403)))
    assert "unmask enqueue --replace-url" in error.detail


def test_an_early_hint_is_no_photo_and_leaves_no_answer_to_the_next(site: Site) -> None:
    site.keeps = True

    def hint(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        handler.server.closing.wait(0.3)
        handler.answer(200, b"somebody else's photo")

    fetch = fetcher(site.host)
    assert refused(fetch, site.url(hint)).not_yet
    assert fetch.fetch(site.url(lambda handler: handler.answer(200, PHOTO))) == PHOTO


@pytest.mark.parametrize(("value", "expected_s"), [("7", 7.0), ("soon", None), ("-1", None), (None, None)])
def test_the_pause_that_a_host_asks_for_comes_with_the_reason(
    site: Site, value: str | None, expected_s: float | None
) -> None:
    headers = {"Retry_After": value} if value is not None else {}
    error = refused(fetcher(site.host), site.url(answering(503, **headers)))
    assert error.retry_after_s == expected_s


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_an_allowed_host_is_followed(site: Site, status: int) -> None:
    target = site.url(lambda handler: handler.answer(200, PHOTO))
    start = site.url(lambda handler: handler.answer(status, Location=target.removeprefix(f"http://{site.host}")))
    assert fetcher(site.host).fetch(start) == PHOTO
    assert [path for path, _ in site.asked] == ["/photo-1.jpg", "/photo-0.jpg"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://evil.example/a.jpg", "host_not_allowed"),
        ("//evil.example/a.jpg", "host_not_allowed"),
        ("http://127.0.0.1:1/a.jpg", "host_not_allowed"),
        ("http://169.254.169.254/latest/meta-data/", "host_not_allowed"),
        ("http://ada:s3cret@{host}/photo-0.jpg", "url_not_supported"),
        ("http://evil.example\\@{host}/photo-0.jpg", "url_not_supported"),
        ("file:///etc/passwd", "url_not_supported"),
        ("ftp://{host}/a.jpg", "url_not_supported"),
        ("http://inside.example/a.jpg", "address_not_allowed"),
    ],
)
def test_where_a_redirect_leads_is_checked_as_the_first_url_is(
    site: Site, names: Callable[..., list[str]], target: str, reason: str
) -> None:
    names("inside.example", ["10.0.0.1"])
    site.url(lambda handler: handler.answer(200, PHOTO))
    url = site.url(lambda handler: handler.answer(302, Location=target.format(host=site.host)))
    error = refused(fetcher(site.host, "inside.example"), url)
    assert (error.reason, error.transient) == (reason, False)
    assert len(site.asked) == 1


def redirect(target: str) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(302, Location=target)


def test_three_redirects_are_followed_and_no_more(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    for _ in range(3):
        url = site.url(redirect(url))
    assert fetcher(site.host).fetch(url) == PHOTO

    once_more = site.url(lambda handler: handler.answer(302, Location=url))
    assert refused(fetcher(site.host), once_more).reason == "too_many_redirects"


def test_a_redirect_in_a_circle_ends(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(302, Location=url))
    assert refused(fetcher(site.host), url).reason == "too_many_redirects"
    assert len(site.asked) == 4


def test_of_a_redirect_no_body_is_read_and_no_cookie_kept(site: Site) -> None:
    target = site.url(lambda handler: handler.answer(200, PHOTO))

    def endless(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Set-Cookie", "session=s3cret; Path=/")
        handler.end_headers()
        while not handler.server.closing.is_set():
            handler.wfile.write(bytes(1_000_000))

    assert fetcher(site.host).fetch(site.url(endless)) == PHOTO
    assert "Cookie" not in site.asked[1][1]


def test_a_redirect_without_a_target_is_no_photo(site: Site) -> None:
    assert refused(fetcher(site.host), site.url(lambda handler: handler.answer(302))).detail == "HTTP 302"


def test_nothing_at_all_is_refused(site: Site) -> None:
    with pytest.raises(Rejected, match=r"^empty: "):
        fetcher(site.host).fetch(site.url(lambda handler: handler.answer(200, b"")))


TOO_MANY = LIMITS.max_bytes + 1


def too_many_with_length(handler: Handler) -> None:
    handler.answer(200, bytes(TOO_MANY))


def too_many_without_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(bytes(TOO_MANY))


def too_many_in_chunks_behind_a_small_length(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "10")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (TOO_MANY, bytes(TOO_MANY)))


def too_many_without_end(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(10**15))
    handler.end_headers()
    while not handler.server.closing.is_set():
        handler.wfile.write(bytes(1_000_000))


def endless(start: bytes, more: bytes = bytes(1_000_000)) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.wfile.write(start)
        while not handler.server.closing.is_set():
            handler.wfile.write(more)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#: What http.client reads by itself.
ENDLESS = {
    "a chunk of less than nothing": endless(CHUNKED + b"-1\r\n"),
    "trailers": endless(CHUNKED + b"0\r\n", b"a: b\r\n" * 100_000),
    "to be continued": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40_000),
    "chunks of a byte": endless(CHUNKED, b"1\r\nx\r\n" * 100_000),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_answer_without_end_is_not_read_to_its_deadline(site: Site, name: str) -> None:
    with pytest.raises(Rejected, match=r"^too_many_bytes: more"):
        fetcher(site.host, timeout_s=10 * PATIENCE_S).fetch(site.url(ENDLESS[name]))


@pytest.mark.parametrize(
    "answer",
    [
        too_many_with_length,
        too_many_without_length,
        too_many_in_chunks_behind_a_small_length,
        too_many_without_end,
    ],
    ids=lambda answer: answer.__name__,
)
def test_too_many_bytes_are_refused_by_what_comes_and_not_by_what_was_said(
    site: Site, answer: Callable[[Handler], None]
) -> None:
    with pytest.raises(Rejected, match=f"^too_many_bytes: more .allowed: {LIMITS.max_bytes} bytes"):
        fetcher(site.host).fetch(site.url(answer))


def test_as_many_bytes_as_are_allowed_are_fine(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, bytes(LIMITS.max_bytes)))
    assert len(fetcher(site.host).fetch(url)) == LIMITS.max_bytes


def test_of_a_length_that_says_too_little_no_more_is_believed(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO, Content_Length="10"))
    assert fetcher(site.host).fetch(url) == PHOTO[:10]


UNCHANGED = ["", "identity", "none", "aws-chunked", "AWS-Chunked, identity", "utf-8", "UTF8", "iso-8859-1", "binary"]


@pytest.mark.parametrize("encoding", [*UNCHANGED, "base64", ",", "charset=utf-8", "windows-1252"])
def test_an_encoding_that_changes_no_byte_is_no_reason_to_refuse(site: Site, encoding: str) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO, Content_Encoding=encoding))
    assert fetcher(site.host).fetch(url) == PHOTO


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZIP": gzip.compress,
    "aws-chunked, gzip": gzip.compress,
    "deflate": zlib.compress,
}


@pytest.mark.parametrize(("encoding", "pack"), [*PACKED.items(), ("Deflate", raw_deflate)])
def test_what_was_packed_unasked_is_unpacked(site: Site, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    url = site.url(lambda handler: handler.answer(200, pack(PHOTO * 100), Content_Encoding=encoding))
    assert fetcher(site.host).fetch(url) == PHOTO * 100


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "none of these"])
def test_a_coding_that_we_do_not_read_is_refused_by_name(site: Site, encoding: str) -> None:
    error = refused(fetcher(site.host), site.url(lambda handler: handler.answer(200, PHOTO, Content_Encoding=encoding)))
    assert (error.reason, error.transient) == ("content_encoding", False)
    assert encoding in error.detail


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_is_refused_when_it_reaches_the_limit(site: Site, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(10 * LIMITS.max_bytes))
    url = site.url(lambda handler: handler.answer(200, bomb, Content_Encoding=encoding))
    fetch = fetcher(site.host)
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match=r"^too_many_bytes: more, unpacked"):
            fetch.fetch(url)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * LIMITS.max_bytes


def test_a_packed_answer_that_drips_ends_at_the_deadline(site: Site) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10]
    error = refused(fetcher(site.host, timeout_s=0.5), site.url(Drip("stored blocks", head, b"\0\0\0\xff\xff")))
    assert (error.reason, error.transient) == ("timeout", True)


@pytest.mark.parametrize("length", ["x", "-1", "+5", "1_0", "0x10", "5, 5", "", "9" * 30, "\u0665"])
def test_a_length_that_is_no_number_is_refused_by_name(site: Site, length: str) -> None:
    def answer(handler: Handler) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        handler.wfile.write(head.encode() + PHOTO)
        handler.server.closing.wait(PATIENCE_S)  # the connection stays open

    start = time.monotonic()
    error = refused(fetcher(site.host), site.url(answer))
    assert (error.reason, error.transient) == ("content_length", True)
    assert time.monotonic() - start < PATIENCE_S / 2


@pytest.mark.parametrize("lengths", [(5, 50), (50, 5)])
def test_two_lengths_that_differ_are_refused_by_name(site: Site, lengths: tuple[int, int]) -> None:
    head = "".join(f"Content-Length: {length}\r\n" for length in lengths)

    def answer(handler: Handler) -> None:
        handler.wfile.write(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + PHOTO)

    assert refused(fetcher(site.host), site.url(answer)).reason == "content_length"


def test_a_length_that_promises_more_than_comes_is_refused_by_name(site: Site) -> None:
    error = refused(fetcher(site.host), site.url(half))
    assert (error.reason, error.transient) == ("content_length", True)
    assert f"{len(PHOTO)} of {2 * len(PHOTO)} bytes came" in error.detail


@pytest.mark.parametrize("said", ["text/html", "image/jpeg", "application/octet-stream", ""])
def test_what_a_photo_is_said_to_be_makes_no_difference(site: Site, said: str) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO, Content_Type=said))
    assert fetcher(site.host).fetch(url) == PHOTO


def half(handler: Handler) -> None:
    handler.answer(200, PHOTO, Content_Length=str(len(PHOTO) * 2))


def nonsense(handler: Handler) -> None:
    handler.wfile.write(b"\x00\xff\r\n\r\n")


def bad_chunk(handler: Handler) -> None:
    handler.answer(200, b"what?\r\nphoto", Transfer_Encoding="chunked")


def negative_chunk(handler: Handler) -> None:
    handler.answer(200, b"-5\r\nphoto", Transfer_Encoding="chunked")


def nowhere(handler: Handler) -> None:
    handler.answer(302, Location="http://[::1/a")


def no_address(handler: Handler) -> None:
    handler.answer(302, Location="http://[zz]/a")


def silence(handler: Handler) -> None:
    """Hangs up without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "answer",
    [nonsense, bad_chunk, negative_chunk, nowhere, no_address, silence],
    ids=lambda answer: answer.__name__,
)
def test_an_answer_that_breaks_off_or_makes_no_sense_may_be_better_next_time(
    site: Site, answer: Callable[[Handler], None]
) -> None:
    error = refused(fetcher(site.host), site.url(answer))
    assert (error.reason, error.transient) == ("connection", True)


def test_a_refused_connection_may_be_better_next_time() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        error = refused(fetcher(host), f"http://{host}/a.jpg")
    assert (error.reason, error.transient) == ("connection", True)


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


DRIPS = [
    Drip("a body with its length", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
    Drip("a body without its length", b"HTTP/1.1 200 OK\r\n\r\n"),
    Drip("a body in chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    Drip("a chunk's length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    Drip("the first line", b"", b"H"),
    Drip("the headers", b"HTTP/1.1 200 OK\r\n", b"a"),
    Drip("a header at a time", b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", every_s=0.1),
    Drip("to be continued", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    Drip("what follows the last chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
    Drip("nothing", b"", b""),
    Drip("nothing after the headers", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b""),
]


@pytest.mark.parametrize("drip", DRIPS, ids=lambda drip: drip.name)
def test_a_download_ends_at_its_deadline_however_slowly_it_drips(site: Site, drip: Drip) -> None:
    fetch = fetcher(site.host, timeout_s=0.3)
    start = time.monotonic()
    error = refused(fetch, site.url(drip))
    assert (error.reason, error.transient) == ("timeout", True)
    assert 0.3 <= time.monotonic() - start < PATIENCE_S / 2


def test_redirects_share_one_deadline(site: Site) -> None:
    def slow(handler: Handler) -> None:
        handler.server.closing.wait(0.4)
        handler.answer(302, Location=handler.path)

    start = time.monotonic()
    error = refused(fetcher(site.host, timeout_s=1.0), site.url(slow))
    assert (error.reason, error.transient) == ("timeout", True)
    assert time.monotonic() - start >= 1.0


def test_a_connection_is_used_again_by_the_same_thread(site: Site) -> None:
    site.keeps = True
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    fetch = fetcher(site.host)
    assert [fetch.fetch(url) for _ in range(3)] == [PHOTO] * 3
    assert (len(site.asked), site.connections) == (3, 1)


def test_after_a_download_that_broke_off_the_next_is_not_its_rest(site: Site) -> None:
    site.keeps = True
    fetch = fetcher(site.host, timeout_s=1.0)
    refused(fetch, site.url(Drip("a body", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")))
    assert fetch.fetch(site.url(lambda handler: handler.answer(200, PHOTO))) == PHOTO


def numbered(number: int) -> Callable[[Handler], None]:
    return lambda handler: handler.answer(200, b"%d" % number * 1000)


def test_many_threads_download_at_once(site: Site) -> None:
    site.keeps = True
    photos = {site.url(numbered(n)): b"%d" % n * 1000 for n in range(40)}
    fetch = fetcher(site.host)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fetch.fetch, photos)) == list(photos.values())


# From which hosts


def test_without_allowed_hosts_none_is_allowed_and_the_reason_says_what_to_set(site: Site) -> None:
    error = refused(fetcher(), site.url(lambda handler: handler.answer(200, PHOTO)))
    assert (error.reason, error.transient) == ("host_not_allowed", False)
    assert f"{site.host} (allowed: none; set UNMASK_ALLOWED_HOSTS)" in error.detail
    assert site.asked == []


def test_a_host_is_allowed_on_the_port_that_was_named(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    assert fetcher("cdn.example.com", site.host).fetch(url) == PHOTO
    error = refused(fetcher("cdn.example.com", "127.0.0.1"), url)
    assert error.reason == "host_not_allowed"
    assert len(site.asked) == 1


def test_http_is_not_spoken_unless_it_is_allowed(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    error = refused(fetcher(site.host, allow_http=False), url)
    assert (error.reason, error.transient) == ("http_not_allowed", False)
    assert "UNMASK_ALLOW_HTTP" in error.detail
    assert site.asked == []


def test_the_case_of_hosts_and_schemes_does_not_matter(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO)).replace("http://127.0.0.1", "HTTP://LocalHost")
    assert fetcher(f"LOCALHOST:{site.server_port}").fetch(url) == PHOTO


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/a.jpg",
        "http://{ip}.evil.example:{port}/a.jpg",
        "http://evil.example#{host}/a.jpg",
        "http://evil.example?{host}/a.jpg",
        "http://evil.example/{host}/a.jpg",
        "http://{ip}:1/a.jpg",
        "http://{ip}/a.jpg",
        "https://{ip}/a.jpg",
        "http://2130706433:{port}/a.jpg",
        "http://0x7f.1:{port}/a.jpg",
        "http://[::ffff:{ip}]:{port}/a.jpg",
    ],
)
def test_whatever_is_not_an_allowed_host_is_not_asked(site: Site, url: str) -> None:
    url = url.format(host=site.host, ip="127.0.0.1", port=site.server_port)
    assert refused(fetcher(site.host), url).reason == "host_not_allowed"
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://ada@{host}/a.jpg",
        "http://ada:s3cret@{host}/a.jpg",
        "http://@{host}/a.jpg",
        "http://evil.example\\@{host}/a.jpg",
        "http://evil.example:80@{host}/a.jpg",
        "ftp://{host}/a.jpg",
        "gopher://{host}/a.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "//{host}/a.jpg",
        "file://{host}/photo.jpg",
        "file://localhost/photo.jpg",
        "http://{host}x/a.jpg",
        "http://①②⑦.0.0.1/a.jpg",
        "http:///a.jpg",
        "http:a.jpg",
        "http://",
        "http://evil.example\\{host}/a.jpg",
        "http://{host}/a\r\nX: y",
        "http://{host}\t/a.jpg",
        "http://[::1/a.jpg",
        "http://{host}:80:80/a.jpg",
    ],
)
def test_other_schemes_user_names_and_nonsense_are_no_photos_url(site: Site, tmp_path: Path, url: str) -> None:
    error = refused(fetcher(site.host, "evil.example", media_root=tmp_path), url.format(host=site.host))
    assert (error.reason, error.transient) == ("url_not_supported", False)
    assert "s3cret" not in str(error)
    assert site.asked == []


# At which addresses


def test_a_private_address_is_not_asked_unless_it_is_excepted(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    error = refused(fetcher(site.host, allow_private_addresses=()), url)
    assert (error.reason, error.transient) == ("address_not_allowed", False)
    assert refused(fetcher(site.host, allow_private_addresses=(ip_network("10.0.0.0/8"),)), url).reason == error.reason
    assert site.asked == []


@pytest.mark.parametrize("answers", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "fe80::1"]])
def test_one_bad_address_among_good_ones_is_enough(
    site: Site, names: Callable[..., list[str]], answers: list[str]
) -> None:
    names("cdn.example.com", answers)
    url = site.url(lambda handler: handler.answer(200, PHOTO)).replace("127.0.0.1", "cdn.example.com")
    error = refused(fetcher(f"cdn.example.com:{site.server_port}"), url)
    assert error.reason == "address_not_allowed"
    assert site.asked == []


def test_a_name_that_leads_elsewhere_a_moment_later_is_resolved_only_once(
    site: Site, names: Callable[..., list[str]]
) -> None:
    asked = names("cdn.example.com", ["127.0.0.1"], ["10.0.0.1"])
    url = site.url(lambda handler: handler.answer(200, PHOTO)).replace("127.0.0.1", "cdn.example.com")
    assert fetcher(f"cdn.example.com:{site.server_port}").fetch(url) == PHOTO
    assert asked == ["cdn.example.com"]
    assert site.asked[0][1]["Host"] == f"cdn.example.com:{site.server_port}"


def test_a_name_that_leads_elsewhere_at_the_second_hop_is_checked_again(
    site: Site, names: Callable[..., list[str]]
) -> None:
    names("cdn.example.com", ["127.0.0.1"], ["10.0.0.1"])
    url = site.url(lambda handler: handler.answer(302, Location="/photo-0.jpg"))
    error = refused(fetcher(f"cdn.example.com:{site.server_port}"), url.replace("127.0.0.1", "cdn.example.com"))
    assert error.reason == "address_not_allowed"
    assert len(site.asked) == 1


def test_a_name_that_cannot_be_resolved_may_be_better_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error = refused(fetcher("cdn.example.com"), "https://cdn.example.com/a.jpg")
    assert (error.reason, error.transient) == ("name_not_resolved", True)


# By TLS


class SecureSite(Site):
    """A web site with a certificate for ``photos.example``, which notes the name it is asked for."""

    def __init__(self, authority: trustme.CA, name: str = "photos.example") -> None:
        super().__init__()
        self.scheme = "https"
        self.host = f"photos.example:{self.server_port}"
        self.named: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        context.sni_callback = lambda _socket, named, _context: self.named.append(named)
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """A file with a certificate authority of our own."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_a_photo_comes_by_tls_under_the_name_that_was_asked_for(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]]
) -> None:
    asked = names("photos.example", ["127.0.0.1"], ["10.0.0.1"])
    with serving(SecureSite(authority)) as site:
        assert isinstance(site, SecureSite)
        url = site.url(lambda handler: handler.answer(200, PHOTO))
        assert fetcher(site.host, ca_bundle=bundle, allow_http=False).fetch(url) == PHOTO
        assert site.named == ["photos.example"]
        assert site.asked[0][1]["Host"] == site.host
    assert asked == ["photos.example"]


@pytest.mark.parametrize(("name", "trusted"), [("evil.example", True), ("127.0.0.1", True), ("photos.example", False)])
def test_a_certificate_for_another_name_or_of_a_stranger_is_not_believed(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]], name: str, *, trusted: bool
) -> None:
    names("photos.example", ["127.0.0.1"])
    with serving(SecureSite(authority, name)) as site:
        url = site.url(lambda handler: handler.answer(200, PHOTO))
        error = refused(fetcher(site.host, ca_bundle=bundle if trusted else None), url)
        assert (error.reason, error.detail) == ("connection", "SSLError")
        assert site.asked == []


def test_a_redirect_from_https_to_http_is_refused_where_http_is(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]], site: Site
) -> None:
    names("photos.example", ["127.0.0.1"])
    target = site.url(lambda handler: handler.answer(200, PHOTO))
    with serving(SecureSite(authority)) as secure:
        url = secure.url(lambda handler: handler.answer(302, Location=target))
        fetch = fetcher(secure.host, site.host, ca_bundle=bundle, allow_http=False)
        assert refused(fetch, url).reason == "http_not_allowed"
    assert site.asked == []


def test_a_download_by_tls_ends_at_its_deadline_too(
    authority: trustme.CA, bundle: Path, names: Callable[..., list[str]]
) -> None:
    names("photos.example", ["127.0.0.1"])
    with serving(SecureSite(authority)) as site:
        url = site.url(Drip("the headers", b"HTTP/1.1 200 OK\r\n", b"a"))
        assert refused(fetcher(site.host, ca_bundle=bundle, timeout_s=2), url).reason == "timeout"


def test_a_handshake_that_drips_ends_at_the_deadline(names: Callable[..., list[str]]) -> None:
    names("photos.example", ["127.0.0.1"])
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"\x16\x03\x03\x40\x00")  # the head of a record of 16 KB
                while not done.wait(0.02):
                    connection.sendall(b"\2")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        host = f"photos.example:{server.getsockname()[1]}"
        start = time.monotonic()
        error = refused(fetcher(host, timeout_s=0.5), f"https://{host}/a.jpg")
        took_s = time.monotonic() - start
        done.set()
        thread.join()
    assert (error.reason, error.transient) == ("timeout", True)
    assert took_s < PATIENCE_S / 2
