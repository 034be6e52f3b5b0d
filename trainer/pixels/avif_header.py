"""The pixels that an AVIF file makes a decoder allocate, read from its boxes and AV1 sequence headers alone.

The size in an AVIF's own header is no limit: libavif decodes AV1 frames of any size and scales them to it, so a file of
1 KB that declares 16×16 may need 270 megapixels. So every coded picture is counted before anything is decoded. This
module also recognises HEIC, which has the same boxes. Unmask does not decode it: libde265 in pillow-heif has a history
of overflows, and its wheels contain the encoder x265, which is under the GPL.

Sources: ISO/IEC 14496-12 (boxes, 8.11 meta), AV1 specification 5.3 (OBUs) and 5.5 (sequence header).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from trainer.errors import Rejected

_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
#: The maximum number of boxes, of items with their extents, and of AV1 units. Tiled photos have some hundreds.
MAX_PARTS = 10_000
_SEQUENCE_HEADER = 1
_TIERED_LEVEL = 7


@dataclass(slots=True)
class _Reader:
    """Reads big-endian numbers from bytes; raises `Rejected` beyond their end."""

    data: bytes
    place: int = 0

    def number(self, size: int) -> int:
        if not 0 <= size <= len(self.data) - self.place:
            raise _corrupt("a box ends too early")
        self.place += size
        return int.from_bytes(self.data[self.place - size : self.place], "big")


class _Bits:
    """Reads bits, the most significant first; beyond the end they are zero."""

    def __init__(self, data: bytes) -> None:
        self._bits, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        return (self._bits >> self._left if self._left >= 0 else 0) & ((1 << count) - 1)


def brands(data: bytes) -> set[bytes]:
    """The brands of an ISO media file (AVIF, HEIC, films); empty for any other file."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 1024)
    return {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}


def is_avif(data: bytes) -> bool:
    """Whether a file declares that it is AVIF."""
    return bool(brands(data) & _AVIF)


def is_heic(data: bytes) -> bool:
    """Whether a file declares that it is HEIC, or HEIF with another codec than AV1."""
    found = brands(data)
    return bool(found & _HEIC) and not found & _AVIF


def is_cut(data: bytes) -> bool:
    """Whether the last box of the file is longer than the rest of the file."""
    place = 0
    while place + 8 <= len(data) and (size := int.from_bytes(data[place : place + 4], "big")) >= 8:  # noqa: PLR2004 - a box's head
        place += size
    return place > len(data)


def coded_pixels(data: bytes) -> int:
    """Pixels of all AV1 pictures in the file (colour, transparency, tiles, thumbnails) together.

    Raises `Rejected` for animations, for more than `MAX_PARTS` parts, and for files without a clear size.
    """
    total = 0
    for kind, body in _boxes(data):
        if kind == b"moov":
            raise Rejected("unsupported_format", "one picture", "an animated AVIF")
        if kind == b"meta":
            total += sum(_frame_pixels(item) for item in _av1_items(body[4:], data))
    if not total:
        raise _corrupt("no AV1 picture")
    return total


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = parts = 0
    while place + 8 <= len(data):
        size, kind, head = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        size = size or len(data) - place
        parts += 1
        if size < head or parts > MAX_PARTS:
            raise _corrupt("a box without a size, or too many")
        yield kind, data[place + head : place + size]
        place += size


def _av1_items(meta: bytes, data: bytes) -> Iterator[bytes]:
    """The AV1 data of each item of a meta box."""
    boxes = dict(_boxes(meta))
    if len(boxes) != sum(1 for _ in _boxes(meta)):
        raise _corrupt("a box occurs twice")
    kinds, left = dict(_item_kinds(boxes.get(b"iinf", b""))), len(data)
    for number, method, extents in _locations(_Reader(boxes.get(b"iloc", b""))):
        if kinds.get(number) != b"av01":
            continue
        source = (data, boxes.get(b"idat", b""))[method]
        parts = [memoryview(source)[start : start + size if size else None] for start, size in extents]
        left -= sum(map(len, parts))
        if left < 0:
            raise _corrupt("items that overlap")
        yield b"".join(parts)


def _item_kinds(info: bytes) -> Iterator[tuple[int, bytes]]:
    head = 6 if info[:1] == b"\0" else 8
    for kind, entry in _boxes(info[head:]):
        if kind == b"infe":
            size = 2 if entry[0:1] == b"\2" else 4
            yield int.from_bytes(entry[4 : 4 + size], "big"), entry[6 + size : 10 + size]


def _locations(reader: _Reader) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Number, construction method (0: the file, 1: the idat box) and extents of each item in an iloc box."""
    version = reader.number(4) >> 24
    sizes = reader.number(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    id_size = 4 if version == 2 else 2  # noqa: PLR2004 - from that version on
    parts = 0
    for _ in range(reader.number(id_size)):
        number = reader.number(id_size)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        base, extents = reader.number(base_size), []
        for _ in range(reader.number(2)):
            reader.number(index_size if version else 0)
            extents.append((base + reader.number(offset_size), reader.number(length_size)))
        parts += 1 + len(extents)
        if parts > MAX_PARTS or method > 1:
            raise _corrupt("items of too many parts, or of other items")
        yield number, method, extents


def _frame_pixels(item: bytes) -> int:
    """The largest size that the sequence headers of an item allow."""
    sizes = [_sequence_pixels(body) for kind, body in _units(item) if kind == _SEQUENCE_HEADER]
    if not sizes:
        raise _corrupt("AV1 data without a sequence header")
    return max(sizes)


def _units(item: bytes) -> Iterator[tuple[int, bytes]]:
    place = parts = 0
    while place < len(item):
        head = item[place]
        place += 2 if head & 4 else 1
        size = len(item) - place
        if head & 2:
            size, place = _leb128(item, place)
        parts += 1
        if parts > MAX_PARTS:
            raise _corrupt("too many AV1 units")
        yield head >> 3 & 15, item[place : place + size]
        place += size


def _leb128(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[place : place + 8]):
        value |= (byte & 127) << 7 * index
        if byte < 128:  # noqa: PLR2004 - the highest bit says that more follow
            return value, place + index + 1
    raise _corrupt("an AV1 unit without a size")


def _sequence_pixels(body: bytes) -> int:
    """The largest frame: of a reduced header the size itself, of any other the largest that its fields can hold."""
    bits = _Bits(body[:64])
    bits.take(4)
    reduced = bits.take(1)
    if reduced:
        bits.take(5)
    else:
        _skip_operating_points(bits)
    widths, heights = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(widths) + 1, bits.take(heights) + 1
    return width * height if reduced else 1 << widths + heights


def _skip_operating_points(bits: _Bits) -> None:
    if bits.take(1):
        raise _corrupt("an AV1 picture with times")
    delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > _TIERED_LEVEL:
            bits.take(1)
        if delays and bits.take(1):
            bits.take(4)


def _corrupt(what: str) -> Rejected:
    return Rejected("corrupt", "a complete file", f"AVIF: {what}")
