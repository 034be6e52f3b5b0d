"""Files without their end, or with bytes after it. Such photos are decoded with a note if every pixel is there.

A decoder that requires the end lets anybody avoid a score by removing two bytes; one that does not accepts half a photo
as a whole one. So a JPEG without its end is accepted only when no pixel depends on the missing bytes.
"""

import hashlib
import io
import re
from collections.abc import Iterator

from PIL import Image

from trainer.pixels.limits import MARKER, Limits

#: The notes that a decoded picture may carry.
NO_END, TRAILING_BYTES = "no_end", "trailing_bytes"
#: The text of each note.
NOTES = {
    NO_END: "the file lacks its end; every pixel is there",
    TRAILING_BYTES: "more bytes follow the picture in the file",
}

_JPEG_END = b"\xff\xd9"
#: The last bytes of a picture of each format; bytes after them do not belong to it.
_ENDS = {"GIF": b"\0;", "JPEG": _JPEG_END, "MPO": _JPEG_END, "PNG": b"\0\0\0\0IEND\xaeB`\x82"}
_RIFF_HEADER = 8
#: More zeros than any picture ends with: an interrupted download in a file of the full size.
_PADDING = bytes(8)
#: Arbitrary bits to append to the data, and their complement. No byte of either is 0x00 or 0xFF.
_BITS = hashlib.shake_256(b"unmask").digest(1024).replace(b"\0", b"\1").replace(b"\xff", b"\1")
_FILLINGS = (_BITS, bytes(255 - byte for byte in _BITS))
#: Decodes of one such file: without a filling, with each filling, and for its pixels.
_DECODES = 2 + len(_FILLINGS)
#: Pixels that are compared at full scale; larger pictures are compared at half of it, or less.
_COMPARED_PIXELS = 16_000_000
_SCALES = (1, 2, 4, 8)

_SCAN_START = b"\xff\xda"
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_RESTARTS = 8
_FRAMES, _SCAN = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA}), 0xDA
#: Bytes of a scan's header without channels: the number of channels, the first and last coefficient, and the bits.
_SCAN_BYTES = 4
_STANDALONE = frozenset({0x01, 0xD8})
_COEFFICIENTS = 64


def notes_on_end(data: bytes, format_: str) -> tuple[str, ...]:
    """What is odd about the end of a file that decodes: `TRAILING_BYTES`, `NO_END` or nothing.

    For a JPEG that is followed by more pictures or a film, only the end of the file counts.
    """
    if format_ == "WEBP":
        length = _RIFF_HEADER + int.from_bytes(data[4:8], "little")
        return (TRAILING_BYTES,) if len(data) > length + length % 2 else ()
    end = _ENDS.get(format_)
    if end is None or data.endswith(end):
        return ()
    ended = has_jpeg_end(data) if end == _JPEG_END else end in data
    return (TRAILING_BYTES,) if ended else (NO_END,)


def has_jpeg_end(data: bytes) -> bool:
    """Whether an end marker follows the last scan of a JPEG; the one of a thumbnail precedes it."""
    return data.endswith(_JPEG_END) or data.find(_JPEG_END, max(0, data.rfind(_SCAN_START))) >= 0


def with_end(data: bytes, pixels: int, scans: int, limits: Limits) -> bytes | None:
    """A truncated JPEG with its end marker added, if every pixel is there; else None.

    libjpeg invents missing data silently. So this decodes the file with the end marker right after the data, and with
    different bits in between: pixels that are equal each time do not depend on missing bytes.
    """
    too_slow = scans > 1 and pixels * scans * _DECODES > limits.max_scan_pixels
    if too_slow or not _has_every_scan(data):
        return None
    data = _without_padding(data)
    try:
        digests = {_digest(data + filling + _JPEG_END) for filling in (b"", *_fillings(data))}
    except Exception:  # noqa: BLE001 - a broken file can make Pillow's decoders raise anything
        return None
    return data + _JPEG_END if len(digests) == 1 else None


def _without_padding(data: bytes) -> bytes:
    """The data without zeros that a decoder would take for pixels, and without half of an end marker."""
    if not data.endswith(_PADDING):
        return data.removesuffix(b"\xff")
    data = data.rstrip(b"\0")
    return data + b"\0" if data.endswith(b"\xff") else data  # in a picture's data zero follows each 0xFF


def _fillings(data: bytes) -> Iterator[bytes]:
    """Fillings for the data: bits, then the restart markers that are due, each followed by bits."""
    restarts = _RESTART.findall(data, max(0, data.rfind(_SCAN_START)))
    due = restarts[-1][0] + 1 if restarts else _RESTARTS
    for bits in _FILLINGS:
        markers = (bytes([0xFF, 0xD0 + (due + number) % _RESTARTS]) for number in range(_RESTARTS))
        yield bits + b"".join(marker + bits for marker in markers)


def _digest(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        width, height = image.size
        scale = next((s for s in _SCALES if width * height <= _COMPARED_PIXELS * s * s), _SCALES[-1])
        image.draft(image.mode, (width // scale, height // scale))
        image.load()
        return hashlib.sha256(image.tobytes()).digest()


def _has_every_scan(data: bytes) -> bool:
    """Whether the scans that began hold all coefficients of all channels to the last bit (ITU-T T.81, B.2.3, G.1)."""
    wanted: set[tuple[int, int]] = set()
    found: set[tuple[int, int]] = set()
    place = 0
    while marker := MARKER.search(data, place):
        kind, place = marker[1][0], marker.end()
        body = data[place + 2 : place + max(2, int.from_bytes(data[place : place + 2], "big"))]
        if kind in _FRAMES:
            wanted |= {(channel, number) for channel in body[6::3] for number in range(_COEFFICIENTS)}
        elif kind == _SCAN and len(body) >= _SCAN_BYTES and body[-1] & 15 == 0:
            channels, first, last = body[1 : 1 + 2 * body[0] : 2], body[-3], body[-2]
            found |= {(channel, number) for channel in channels for number in range(first, last + 1)}
        place += 0 if kind in _STANDALONE else 2 + len(body)
    return bool(wanted) and wanted <= found
