"""Decodes response bodies by their ``Content-Encoding``: unchanged, gzip or deflate.

The fetcher asks for ``identity``, but hosts store the label of the upload: S3 clients write ``aws-chunked``, ``base64``
or a charset although the bytes are the photo itself (https://github.com/versity/versitygw/issues/2398).
"""

import re
import zlib
from collections.abc import Iterable, Iterator

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS
from worker.core.errors import FetchError

#: Labels that leave the bytes unchanged. If the bytes are encoded all the same, the decoder reports no image.
_UNCHANGED = frozenset(
    {"", "7bit", "8bit", "aws-chunked", "base64", "binary", "identity", "latin1", "none", "null", "raw", "us-ascii"}
)
_CHARSET = re.compile(r"(charset=)?(utf-?(8|16|32)(le|be)?|ascii|iso-?8859-\d{1,2}|windows-\d{3,4}|cp\d{3,4})")
_GZIP, _DEFLATE = frozenset({"gzip", "x-gzip"}), frozenset({"deflate"})
#: zlib's ``wbits``: with a gzip header, with a zlib header, and without one, which some servers send as "deflate".
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15
_HEADER_BYTES = 2
#: The lowest four bits of a zlib header's first byte, and what its first two bytes are divisible by (RFC 1950).
_ZLIB_METHOD, _ZLIB_CHECK = 8, 31


def decoded(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The decoded body; raises `FetchError` for a wrong coding, and `Rejected` for too many or missing bytes.

    A decoded body has at most ``LIMITS.max_bytes`` bytes; at most one byte more is ever unpacked.
    """
    coding = _coding(encoding)
    return iter(chunks) if coding is None else _unpacked(chunks, coding)


def _coding(encoding: str) -> str | None:
    """The one coding that changes bytes, if any; raises `FetchError` for more than one or an unsupported one."""
    labels = [label.strip().lower() for label in encoding.split(",")]
    changing = [label for label in labels if label not in _UNCHANGED and not _CHARSET.fullmatch(label)]
    if not changing:
        return None
    if len(changing) > 1 or changing[0] not in _GZIP | _DEFLATE:
        raise FetchError(
            "content_encoding", f"Content-Encoding {encoding[:40]!r}: only gzip or deflate, once, is supported"
        )
    return changing[0]


def _unpacked(chunks: Iterable[bytes], coding: str) -> Iterator[bytes]:
    packer, left = None, LIMITS.max_bytes
    for chunk in _whole_header(chunks):
        packer = packer or zlib.decompressobj(_window(coding, chunk))
        part = _part(packer, chunk, coding, left)
        left -= len(part)
        yield part
    if packer is not None and not packer.eof:
        raise Rejected("truncated", f"a complete {coding} body", "its end is missing")


def _whole_header(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, with at least two in the first chunk if the body has two."""
    start = b""
    for chunk in chunks:
        if len(start) >= _HEADER_BYTES:
            yield chunk
            continue
        start += chunk
        if len(start) >= _HEADER_BYTES:
            yield start
    if 0 < len(start) < _HEADER_BYTES:
        yield start


def _window(coding: str, start: bytes) -> int:
    if coding in _GZIP:
        return _GZIP_BITS
    head = int.from_bytes(start[:2], "big")
    zlib_header = (head >> 8) & 15 == _ZLIB_METHOD and head % _ZLIB_CHECK == 0
    return _ZLIB_BITS if zlib_header else _RAW_BITS


def _part(packer: "zlib._Decompress", chunk: bytes, coding: str, left: int) -> bytes:
    try:
        part = packer.decompress(chunk, left + 1)
    except zlib.error as error:
        raise FetchError("content_encoding", f"the host says {coding}, but the body is not {coding}") from error
    if len(part) > left:
        raise Rejected("too_many_bytes", f"{LIMITS.max_bytes} bytes", "more, unpacked")
    if packer.unused_data:
        raise FetchError("content_encoding", f"more bytes follow the end of the {coding} body")
    return part
