"""Every limit on an image, and the checks that refuse one from its bytes and header, before any pixel is decoded.

The limits hold a decode to 400 MB and 2 s, whatever the file: the tests measure the worst files that they let through.
"""

import io
import re
from dataclasses import dataclass

from PIL import Image

from trainer.errors import Rejected
from trainer.pixels.avif_header import coded_pixels


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an image; pixels, bytes and counts at most, where no field says otherwise."""

    #: Size of the file, in bytes.
    max_bytes: int = 20 * 1024 * 1024
    #: Width × height; scaling a transparent picture takes eight bytes a pixel (320 MB).
    max_pixels: int = 40_000_000
    #: The same for JPEG, which is decoded at reduced scale: this admits 200-megapixel phones.
    max_jpeg_pixels: int = 16_384 * 12_288
    #: The same for WebP, whose decoder keeps several canvases: up to 16 bytes a pixel.
    max_webp_pixels: int = 20_000_000
    #: The same for AVIF, whose decoder keeps planes of up to 16 bits beside the picture.
    max_avif_pixels: int = 20_000_000
    #: Pixels × channels of a JPEG in several scans: two bytes each, kept until the last scan.
    max_progressive_samples: int = 150_000_000
    #: Pixels × scans of a JPEG: each scan processes the whole picture, and may take only a hundred bytes of the file.
    max_scan_pixels: int = 750_000_000
    max_side: int = 20_000
    min_side: int = 16
    #: Longer side over shorter side.
    max_aspect: float = 10.0
    #: Reads by the decoder: chunks, segments and blocks take two to four each.
    max_reads: int = 100_000
    #: Fill bytes (0xFF) in long runs before the markers of a JPEG. libjpeg starts each run again with every 64 KB that
    #: it reads.
    max_fill_bytes: int = 65_536


LIMITS = Limits()

_PIXEL_LIMITS = {
    "AVIF": "max_avif_pixels",
    "JPEG": "max_jpeg_pixels",
    "MPO": "max_jpeg_pixels",
    "WEBP": "max_webp_pixels",
}
_START, _SCAN_START = b"\xff\xd8", b"\xff\xda"
_TEMPORARY, _AGAIN, _END, _SCAN, _APP1 = 0x01, 0xD8, 0xD9, 0xDA, 0xE1
#: The next marker. Within a scan's data 0xFF is followed by zero, or by the number of a restart. Any number of 0xFF may
#: precede a marker; matching them here would take time that grows with the square of their number.
MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_EXIF = b"Exif\0\0"
#: A run of fill bytes that counts; shorter ones cost no more than other bytes, and a long needle is found faster.
_FILL = b"\xff" * 1024
#: Segments of Exif data, of up to 64 KB each. Photos have one. Pillow joins them one by one, and copies all of them
#: each time.
MAX_EXIF_SEGMENTS = 16
#: Segments and scans of all kinds.
MAX_MARKERS = 10_000


def check_bytes(size: int, limits: Limits = LIMITS) -> None:
    """Raise `Rejected` for a file of this size in bytes."""
    if size == 0:
        raise Rejected("empty", "at least 1 byte", "0 bytes")
    if size > limits.max_bytes:
        raise Rejected("too_many_bytes", f"{limits.max_bytes} bytes, max_bytes", f"{size} bytes")


def check_header(image: Image.Image, scans: int, limits: Limits = LIMITS) -> None:
    """Raise `Rejected` for the size or shape of an opened, not yet loaded picture, or for a JPEG's number of scans."""
    width, height = image.size
    size = f"{width}x{height}"
    if width * height > (most := getattr(limits, name := _pixel_limit(image))):
        raise Rejected("too_many_pixels", f"{most} pixels, {name}", f"{width * height} pixels, {size}")
    if max(image.size) > limits.max_side:
        raise Rejected("side_too_long", f"{limits.max_side} pixels, max_side", size)
    if min(image.size) < limits.min_side:
        raise Rejected("side_too_short", f"{limits.min_side} pixels, min_side", size)
    if max(image.size) > limits.max_aspect * min(image.size):
        raise Rejected("too_elongated", f"{limits.max_aspect:g}:1, max_aspect", size)
    if scans > 1 or image.info.get("progressive"):
        _check_scans(image, scans, limits)


def _pixel_limit(image: Image.Image) -> str:
    """The field of `Limits` that holds for this format."""
    return _PIXEL_LIMITS.get(image.format or "", "max_pixels")


def _check_scans(image: Image.Image, scans: int, limits: Limits) -> None:
    """Of all JPEGs, not only progressive ones: a plain JPEG may also repeat scans of one channel endlessly."""
    pixels, channels = image.width * image.height, len(image.getbands())
    if pixels * channels > limits.max_progressive_samples:
        most = limits.max_progressive_samples // channels
        limit = f"{most} pixels in several scans, max_progressive_samples"
        raise Rejected("too_many_pixels", limit, f"{pixels} pixels, {image.width}x{image.height}")
    if scans * pixels > limits.max_scan_pixels:
        limit = f"{limits.max_scan_pixels // pixels} at this size, max_scan_pixels"
        raise Rejected("too_many_scans", limit, f"{scans} scans")


def check_avif(data: bytes, limits: Limits = LIMITS) -> None:
    """Raise `Rejected` for an AVIF whose coded pictures are larger than a photo and its transparency may be."""
    if (coded := coded_pixels(data)) > (most := 2 * limits.max_avif_pixels):
        raise Rejected("too_many_pixels", f"{most} coded pixels, max_avif_pixels", f"{coded} coded pixels")


def count_scans(data: bytes, limits: Limits = LIMITS) -> int:
    """How often a decoder would go over a JPEG: its scans, by the file's markers; 0 for other formats.

    Markers inside segments (a thumbnail) and behind the end of the picture (a film) do not count. Raises `Rejected`
    for more segments, or more fill bytes between them, than any photo has.
    """
    markers = scans = exifs = fill = 0
    place = len(_START) if data.startswith(_START) else len(data)
    filled = (
        len(_FILL) * data.count(_FILL, place) > limits.max_fill_bytes
    )  # if not, no part of the file has too many either
    while found := MARKER.search(data, place):
        fill += len(_FILL) * data.count(_FILL, place, found.start() + 1) if filled else 0
        kind, place, markers = found[1][0], found.end(), markers + 1
        if kind == _END:
            break
        scans += kind == _SCAN
        exifs += kind == _APP1 and data.startswith(_EXIF, place + 2)
        if exifs > MAX_EXIF_SEGMENTS:
            raise Rejected("too_many_parts", f"{MAX_EXIF_SEGMENTS} Exif segments", "more")
        if markers > MAX_MARKERS:
            raise Rejected("too_many_parts", f"{MAX_MARKERS} segments and scans", "more")
        if kind == _SCAN and not filled and data.find(_SCAN_START, place) < 0:
            return scans  # the last scan: for most photos this saves searching the rest
        if kind not in (_TEMPORARY, _AGAIN):  # these two have no length
            place += max(2, int.from_bytes(data[place : place + 2], "big"))
    else:
        fill += len(_FILL) * data.count(_FILL, place) if filled else 0
    if fill > limits.max_fill_bytes:
        raise Rejected("too_many_parts", f"{limits.max_fill_bytes} fill bytes, max_fill_bytes", f"{fill} fill bytes")
    return scans


class MeteredReader(io.BytesIO):
    """A file in memory that a decoder may read in ``max_reads`` pieces; raises `Rejected` for one more.

    Some formats are lists of chunks that may be empty, and Pillow reads them one by one: four million of them, in a
    file of 20 MB, take many seconds. No photo has as many parts as this allows.
    """

    def __init__(self, data: bytes, max_reads: int) -> None:
        super().__init__(data)
        self._max_reads = self._left = max_reads

    def read(self, size: int | None = -1, /) -> bytes:
        """Read the next piece, as `io.BytesIO.read` does."""
        self._left -= 1
        if self._left < 0:
            raise Rejected("too_many_parts", f"{self._max_reads} reads, max_reads", "more")
        return super().read(size)
