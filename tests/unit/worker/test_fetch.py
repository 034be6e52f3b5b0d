"""Bytes come from a file below the media root or from an allowed host, in time and within limits, or with a reason."""

import gzip
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import Rejected
from trainer.preprocess import LIMITS
from worker.errors import FetchError
from worker.fetch import Fetcher
from worker.settings import FetchSettings

PHOTO = b"\xff\xd8 as good as any photo, for whoever only carries it"
#: For reads that must end; a test that needs longer has failed.
PATIENCE_S = 10


class Handler(BaseHTTPRequestHandler):
    """Answers a path as its site says."""

    protocol_version = "HTTP/1.1"
    server: "Site"

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        self.close_connection = True
        self.server.answers[self.path](self)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the standard library
        """Nothing: what was asked is in ``asked``."""

    def answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Site(ThreadingHTTPServer):
    """A web site on this machine."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.closing = threading.Event()
        self.host = f"127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Nothing: that clients hang up is what some tests are about."""

    def url(self, answer: Callable[[Handler], None]) -> str:
        """The URL of an answer."""
        path = f"/photo-{len(self.answers)}.jpg"
        self.answers[path] = answer
        return f"http://{self.host}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        yield site
        site.closing.set()
        site.shutdown()
        thread.join()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A media root with a photo, beside a secret."""
    (tmp_path / "secret.txt").write_text("s3cret")
    root = tmp_path / "media"
    (root / "sub folder").mkdir(parents=True)
    (root / "photo.jpg").write_bytes(PHOTO)
    (root / "sub folder" / "ü 100%?.jpg").write_bytes(PHOTO)
    return root


def fetcher(*hosts: str, root: Path | None = None, timeout_s: float = PATIENCE_S) -> Fetcher:
    return Fetcher(FetchSettings(allowed_hosts=hosts, media_root=root, fetch_timeout_s=timeout_s))


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


@pytest.mark.parametrize(
    ("status", "reason", "transient"),
    [
        (404, "not_found", False),
        (410, "not_found", False),
        (204, "http_status", False),
        (206, "http_status", False),
        (400, "http_status", False),
        (401, "http_status", False),
        (403, "http_status", False),
        (408, "http_status", True),
        (425, "http_status", True),
        (429, "http_status", True),
        (500, "http_status", True),
        (502, "http_status", True),
        (503, "http_status", True),
    ],
)
def test_any_other_status_is_a_reason_and_some_may_pass(site: Site, status: int, reason: str, transient: bool) -> None:
    error = refused(fetcher(site.host), site.url(lambda handler: handler.answer(status)))
    assert (error.reason, error.transient, error.detail) == (reason, transient, f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_wherever_it_leads(site: Site, status: int) -> None:
    target = site.url(lambda handler: handler.answer(200, PHOTO))
    error = refused(fetcher(site.host), site.url(lambda handler: handler.answer(status, Location=target)))
    assert (error.reason, error.transient) == ("http_status", False)
    assert len(site.asked) == 1


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


def too_many_once_unpacked(handler: Handler) -> None:
    handler.answer(200, gzip.compress(bytes(TOO_MANY)), Content_Encoding="gzip")


@pytest.mark.parametrize(
    "answer",
    [
        too_many_with_length,
        too_many_without_length,
        too_many_in_chunks_behind_a_small_length,
        too_many_without_end,
        too_many_once_unpacked,
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


def half(handler: Handler) -> None:
    handler.answer(200, PHOTO, Content_Length=str(len(PHOTO) * 2))


def nonsense(handler: Handler) -> None:
    handler.wfile.write(b"\x00\xff\r\n\r\n")


def bad_chunk(handler: Handler) -> None:
    handler.answer(200, b"what?\r\nphoto", Transfer_Encoding="chunked")


def bad_gzip(handler: Handler) -> None:
    handler.answer(200, PHOTO, Content_Encoding="gzip")


def silence(handler: Handler) -> None:
    """Hangs up without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answer", [half, nonsense, bad_chunk, bad_gzip, silence], ids=lambda answer: answer.__name__)
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


def test_no_thread_is_left_behind_by_a_download(site: Site) -> None:
    fetch = fetcher(site.host, timeout_s=60)
    fetch.fetch(site.url(lambda handler: handler.answer(200, PHOTO)))
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and not _over(thread)]


def _over(thread: threading.Thread) -> bool:
    thread.join(PATIENCE_S)
    return not thread.is_alive()


# From which hosts


def test_without_allowed_hosts_none_is_allowed_and_the_reason_says_what_to_set(site: Site) -> None:
    error = refused(fetcher(), site.url(lambda handler: handler.answer(200, PHOTO)))
    assert (error.reason, error.transient) == ("host_not_allowed", False)
    assert f"{site.host} (allowed: none; set UNMASK_ALLOWED_HOSTS)" in error.detail
    assert site.asked == []


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.1:{port}"])
def test_a_host_is_allowed_on_all_ports_or_on_one(site: Site, allowed: str) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO))
    assert fetcher("cdn.example.com", allowed.format(port=site.server_port)).fetch(url) == PHOTO


def test_the_case_of_hosts_and_schemes_does_not_matter(site: Site) -> None:
    url = site.url(lambda handler: handler.answer(200, PHOTO)).replace("http://127.0.0.1", "HTTP://LocalHost")
    assert fetcher("LOCALHOST").fetch(url) == PHOTO


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/a.jpg",
        "http://{ip}.evil.example:{port}/a.jpg",
        "http://evil.example#{host}/a.jpg",
        "http://evil.example?{host}/a.jpg",
        "http://evil.example/{host}/a.jpg",
        "http://evil.example\\{host}/a.jpg",
        "http://{ip}:1/a.jpg",
        "http://{ip}/a.jpg",
        "https://{ip}/a.jpg",
        "http://2130706433:{port}/a.jpg",
        "http://0x7f.1:{port}/a.jpg",
        "http://[::ffff:{ip}]:{port}/a.jpg",
        "http://①②⑦.0.0.1:{port}/a.jpg",
        "http:///a.jpg",
        "http:a.jpg",
        "http://",
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
        "http://[::1/a.jpg",
        "http://{host}:80:80/a.jpg",
    ],
)
def test_other_schemes_user_names_and_nonsense_are_no_photos_url(site: Site, root: Path, url: str) -> None:
    error = refused(fetcher(site.host, "evil.example", root=root), url.format(host=site.host))
    assert (error.reason, error.transient) == ("url_not_supported", False)
    assert "s3cret" not in str(error)
    assert site.asked == []


# From the media root


@pytest.mark.parametrize(
    "url",
    [
        "photo.jpg",
        "./photo.jpg",
        "sub folder/../photo.jpg",
        "{root}/photo.jpg",
        "sub folder/ü 100%?.jpg",
        "{root}/sub folder/ü 100%?.jpg",
        "file://{root}/photo.jpg",
        "file://{root}/sub%20folder/%C3%BC%20100%25%3F.jpg",
        "FILE://{root}/photo.jpg",
    ],
)
def test_a_file_below_the_media_root_is_read(root: Path, url: str) -> None:
    assert fetcher(root=root).fetch(url.format(root=root)) == PHOTO


@pytest.mark.parametrize(
    "url",
    [
        "../secret.txt",
        "sub folder/../../secret.txt",
        "{root}/../secret.txt",
        "{outside}/secret.txt",
        "{outside}/missing.txt",
        "../missing.txt",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://{root}/%2e%2e/secret.txt",
        "file://{root}/..%2Fsecret.txt",
        "link to the secret",
        "link out/secret.txt",
        "..",
    ],
)
def test_what_lies_outside_the_media_root_is_not_read_nor_known_to_exist(root: Path, url: str) -> None:
    (root / "link to the secret").symlink_to(root.parent / "secret.txt")
    (root / "link out").symlink_to(root.parent)
    error = refused(fetcher(root=root), url.format(root=root, outside=root.parent))
    assert (error.reason, error.transient) == ("path_not_allowed", False)


def test_a_folder_whose_name_only_begins_like_the_media_roots_is_outside(root: Path) -> None:
    (root.parent / "media2").mkdir()
    (root.parent / "media2" / "photo.jpg").write_bytes(PHOTO)
    assert refused(fetcher(root=root), "../media2/photo.jpg").reason == "path_not_allowed"


def test_links_within_the_media_root_and_to_it_are_followed(root: Path) -> None:
    (root / "link.jpg").symlink_to("photo.jpg")
    (root.parent / "alias").symlink_to(root)
    assert fetcher(root=root.parent / "alias").fetch("link.jpg") == PHOTO
    assert fetcher(root=root.parent / "alias").fetch(f"{root}/photo.jpg") == PHOTO


@pytest.mark.parametrize("url", ["missing.jpg", "missing/photo.jpg", "broken link"])
def test_a_missing_file_is_not_found(root: Path, url: str) -> None:
    (root / "broken link").symlink_to("missing.jpg")
    error = refused(fetcher(root=root), url)
    assert (error.reason, error.transient) == ("not_found", False)


@pytest.mark.parametrize("url", ["sub folder", ".", "", "photo.jpg/x", "a\0b", "x" * 5000, "loop", "pipe"])
@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_unreadable_and_never_waited_for(root: Path, url: str) -> None:
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop")
    error = refused(fetcher(root=root), url)
    assert (error.reason, error.transient) == ("unreadable", False)


def test_without_a_media_root_no_path_is_read_and_the_reason_says_what_to_set(root: Path) -> None:
    error = refused(fetcher("127.0.0.1"), str(root / "photo.jpg"))
    assert error.reason == "path_not_allowed"
    assert "UNMASK_MEDIA_ROOT" in error.detail


def test_an_empty_file_and_one_that_is_too_large_are_refused(root: Path) -> None:
    (root / "empty.jpg").touch()
    with (root / "huge.jpg").open("wb") as file:
        file.truncate(TOO_MANY)
    with pytest.raises(Rejected, match=r"^empty: "):
        fetcher(root=root).fetch("empty.jpg")
    with pytest.raises(Rejected, match=r"^too_many_bytes: "):
        fetcher(root=root).fetch("huge.jpg")
