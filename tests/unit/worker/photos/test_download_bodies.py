"""A photo's bytes come whole and unpacked, within limits and as announced, or with a reason."""

import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from tests.photo_sites import PATIENCE_S, PHOTO, Handler, Site, fetcher, refused
from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS


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
