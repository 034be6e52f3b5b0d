"""Every limit on an image, and what can be refused by them from the header, before any pixel is decoded.

They hold a decode to 400 MB and 2 s, whatever comes: see the tests, which measure the worst of what they let through.
"""

from dataclasses import dataclass

from PIL import Image

from trainer.errors import Rejected


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused."""

    #: Size of the file.
    max_bytes: int = 20 * 1024 * 1024
    #: Width × height; a transparent picture needs eight bytes a pixel while it is scaled (320 MB).
    max_pixels: int = 40_000_000
    #: The same for JPEG, which is decoded at reduced scale: 48-megapixel phones are welcome.
    max_jpeg_pixels: int = 50_000_000
    #: The same for WebP, whose decoder keeps the canvas several times: up to 16 bytes a pixel.
    max_webp_pixels: int = 20_000_000
    #: Of a JPEG in several scans: pixels × channels, two bytes each, all of which are kept until the last scan.
    max_progressive_samples: int = 150_000_000
    #: And pixels × scans: each scan goes over the whole picture, and may take a hundred bytes of the file.
    max_scan_pixels: int = 750_000_000
    max_side: int = 20_000
    min_side: int = 16
    #: Longer side over shorter side.
    max_aspect: float = 10.0
    #: Chunks, segments and blocks are read in two to four pieces each.
    max_reads: int = 100_000


LIMITS = Limits()


def check_bytes(size: int, limits: Limits = LIMITS) -> None:
    """Refuse a file by its size in bytes alone."""
    if size == 0:
        raise Rejected("empty", "at least 1 byte", "0 bytes")
    if size > limits.max_bytes:
        raise Rejected("too_many_bytes", f"{limits.max_bytes} bytes", f"{size} bytes")


def check_header(image: Image.Image, scans: int, limits: Limits = LIMITS) -> None:
    """Refuse an opened and not yet loaded picture by its size, its shape and, of a JPEG, the number of its scans."""
    width, height = image.size
    size = f"{width}x{height}"
    if max(image.size) > limits.max_side:
        raise Rejected("side_too_long", f"{limits.max_side} pixels", size)
    if min(image.size) < limits.min_side:
        raise Rejected("side_too_short", f"{limits.min_side} pixels", size)
    if width * height > (most := _max_pixels(image, limits)):
        raise Rejected("too_many_pixels", f"{most} pixels", size)
    if max(image.size) > limits.max_aspect * min(image.size):
        raise Rejected("too_elongated", f"{limits.max_aspect:g}:1", size)
    if scans > 1 or image.info.get("progressive"):
        _check_scans(image, scans, limits)


def _max_pixels(image: Image.Image, limits: Limits) -> int:
    by_format = {"JPEG": limits.max_jpeg_pixels, "MPO": limits.max_jpeg_pixels, "WEBP": limits.max_webp_pixels}
    return by_format.get(image.format or "", limits.max_pixels)


def _check_scans(image: Image.Image, scans: int, limits: Limits) -> None:
    """Not only progressive ones: a plain JPEG may repeat scans of one channel without end, too."""
    pixels = image.width * image.height
    samples = pixels * len(image.getbands())
    if samples > limits.max_progressive_samples:
        raise Rejected("too_many_pixels", f"{limits.max_progressive_samples} samples in several scans", f"{samples}")
    if scans * pixels > limits.max_scan_pixels:
        raise Rejected("too_many_scans", f"{limits.max_scan_pixels // pixels} at this size", f"{scans} scans")
