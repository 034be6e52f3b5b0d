"""A download ends at its deadline however slowly it comes, and disturbs no other."""

import gzip
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.photo_sites import PATIENCE_S, PHOTO, Drip, Handler, Site, fetcher, refused

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


def test_a_packed_answer_that_drips_ends_at_the_deadline(site: Site) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10]
    error = refused(fetcher(site.host, timeout_s=0.5), site.url(Drip("stored blocks", head, b"\0\0\0\xff\xff")))
    assert (error.reason, error.transient) == ("timeout", True)


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
