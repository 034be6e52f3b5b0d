"""A packed body comes out as it went in, however it was cut into chunks; anything else is refused."""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS
from worker.core.errors import FetchError
from worker.photos.content_coding import decoded


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS = [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate), ("identity", bytes)]


@given(st.binary(), st.integers(1, 50), st.sampled_from(PACKERS))
def test_chunks_of_any_size_give_the_same_bytes(
    data: bytes, size: int, packer: tuple[str, Callable[[bytes], bytes]]
) -> None:
    encoding, pack = packer
    packed = pack(data)
    chunks = [packed[start : start + size] for start in range(0, len(packed), size)]
    assert b"".join(decoded(chunks, encoding)) == data


@given(st.binary(), st.sampled_from(["gzip", "deflate"]))
def test_garbage_is_refused_for_a_reason_or_small(garbage: bytes, encoding: str) -> None:
    unpacked: list[bytes] = []
    with suppress(FetchError, Rejected):
        unpacked += decoded([garbage], encoding)
    assert sum(map(len, unpacked)) <= LIMITS.max_bytes


@pytest.mark.parametrize("size", [LIMITS.max_bytes, LIMITS.max_bytes + 1])
def test_the_limit_is_exact(size: int) -> None:
    packed = zlib.compress(bytes(size))
    if size <= LIMITS.max_bytes:
        assert sum(map(len, decoded([packed], "deflate"))) == size
    else:
        with pytest.raises(Rejected, match="too_many_bytes"):
            list(decoded([packed], "deflate"))


def test_a_body_without_its_end_is_truncated() -> None:
    with pytest.raises(Rejected, match="truncated"):
        list(decoded([gzip.compress(b"photo", mtime=0)[:-5]], "gzip"))


@pytest.mark.parametrize("more", [b"x", bytes(100), gzip.compress(b"another photo", mtime=0)])
def test_bytes_behind_the_end_are_refused(more: bytes) -> None:
    for chunks in ([gzip.compress(b"photo", mtime=0) + more], [gzip.compress(b"photo", mtime=0), more]):
        with pytest.raises(FetchError, match="more bytes follow the end"):
            list(decoded(chunks, "gzip"))
