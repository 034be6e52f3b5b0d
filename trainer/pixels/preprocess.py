"""Bytes to 512×512 RGB: the only decoder in this project.

Training and serving call the same ``decode``. Its ``FINGERPRINT`` travels with every checkpoint and score, so that a
detector always scores the pixels that it was trained on.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from trainer.errors import Rejected
from trainer.pixels.avif_header import is_avif, is_cut, is_heic
from trainer.pixels.file_end import has_jpeg_end, notes_on_end, with_end
from trainer.pixels.limits import LIMITS, Limits, MeteredReader, check_avif, check_bytes, check_header, count_scans

#: Raise this when a change may alter the resulting pixels; the golden hash in the tests fails if you forget.
VERSION = 1
#: Width and height of the detector's input, in pixels (the paper's).
SIZE = 512
#: The colour behind transparent pictures.
BACKGROUND = (255, 255, 255)
#: The formats of profile photos. Others (EPS, TIFF, ...) reach code that hostile files have broken before.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
#: Identifies how pixels are made; stored in checkpoints and beside scores. Accepting files that were refused before
#: (AVIF, larger ones, or without their end) needs no new one: no file that had pixels gets others.
FINGERPRINT = f"unmask-{VERSION}-{SIZE}-draft-bilinear-white"

Pixels = NDArray[np.uint8]

#: The number of rows flattened at a time, because flattening makes three copies of them.
_STRIP = 64
_ORIENTATION = ExifTags.Base.Orientation
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The unpacked size of a PNG's texts and colour profile: of each one, and of all together.
PngImagePlugin.MAX_TEXT_CHUNK = 1024 * 1024
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 1024 * 1024
# Pillow warns about odd but readable files: no reason to print, or to refuse them under -W error.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Pillow's one limit for all formats; `limits.check_header` has one for each, before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# A decode takes one core, as for all other formats; the caller decides how many run at once.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: ``pixels`` is (512, 512, 3) uint8 RGB; ``width`` and ``height`` are the file's, in pixels.

    ``animated``: the file has several frames, and the pixels are those of the first. ``notes``: what is odd about the
    file, though every pixel is there (see `trainer.pixels.file_end`).
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    animated: bool = False
    notes: tuple[str, ...] = ()


def decode(data: bytes, limits: Limits = LIMITS) -> Picture:
    """Decode one photo to 512×512 RGB, upright and uncropped (the paper does not crop to the face).

    Raises `Rejected` for anything else: its reason is one of ``empty``, ``too_many_bytes``, ``not_an_image``,
    ``too_many_pixels``, ``side_too_long``, ``side_too_short``, ``too_elongated``, ``too_many_scans``,
    ``too_many_parts``, ``metadata_too_large``, ``unsupported_format``, ``truncated``, ``corrupt``.
    """
    image = open_checked(data, limits)
    width, height = image.size
    format_ = image.format or ""
    animated = _animated(image, data, limits)
    pixels = np.asarray(read_ended(_canvas, image, data, limits))
    return Picture(pixels, width, height, format_, animated, notes_on_end(data, format_))


def upright(data: bytes, limits: Limits = LIMITS, side: int = 2 * SIZE) -> Image.Image:
    """The photo as RGB at its own size, or at half or less of it for a big JPEG: the input of `trainer.pixels.views`.

    A JPEG is big when half of it still has ``side`` pixels each way. Raises `Rejected` as `decode` does.
    """
    return read_ended(partial(_sheet, side=side), open_checked(data, limits), data, limits)


def open_checked(data: bytes, limits: Limits = LIMITS) -> Image.Image:
    """A photo within the limits, of which only the header has been read; raises `Rejected` as `decode` does."""
    check_bytes(len(data), limits)
    if is_heic(data):
        raise Rejected("unsupported_format", "/".join(FORMATS), "HEIC: convert it to JPEG before the upload")
    if is_avif(data):
        check_avif(data, limits)
    scans = count_scans(data, limits)
    image = _open(data, limits)
    check_header(image, scans, limits)
    return image


def read_whole(read: Callable[[Image.Image], Image.Image], image: Image.Image) -> Image.Image:
    """What ``read`` makes of an opened photo's pixels; raises `Rejected` for whatever a broken file makes it raise."""
    try:
        return read(image)
    except Rejected:
        raise
    except Exception as error:  # a broken file can make Pillow's decoders raise anything
        raise _broken(error) from error


def read_ended(
    read: Callable[[Image.Image], Image.Image], image: Image.Image, data: bytes, limits: Limits = LIMITS
) -> Image.Image:
    """As `read_whole`, also of a JPEG that lacks only its end; raises `Rejected` when pixels are missing."""
    if image.format not in ("JPEG", "MPO") or has_jpeg_end(data):
        return read_whole(read, image)
    ended = with_end(data, image.width * image.height, count_scans(data, limits), limits)
    if ended is None:
        read_whole(read, image)  # raises what is wrong; a decoder reads padding as pixels
        raise Rejected("truncated", "a complete file", "pixels are missing at the end")
    return read_whole(read, _open(ended, limits))


def _open(data: bytes, limits: Limits) -> Image.Image:
    try:
        return Image.open(MeteredReader(data, limits.max_reads), formats=FORMATS)
    except Rejected:
        raise
    except UnidentifiedImageError as error:
        if is_avif(data):  # its decoder refused it
            reason = "truncated" if is_cut(data) else "corrupt"
            raise Rejected(reason, "a complete file", "an AVIF that cannot be decoded") from error
        raise Rejected("not_an_image", "/".join(FORMATS), f"{len(data)} bytes of something else") from error
    except Exception as error:  # a broken header can make a plugin raise anything
        raise _broken(error) from error


def _animated(image: Image.Image, data: bytes, limits: Limits) -> bool:
    """Whether the file is an animation. More pictures in a JPEG are none: phones keep depth maps and the like there."""
    if image.format != "GIF":
        return image.format in ("PNG", "WEBP") and bool(getattr(image, "is_animated", False))
    try:  # only a second frame tells; seeking it moves the file, so open it again
        return bool(getattr(_open(data, limits), "is_animated", False))
    except Exception:  # noqa: BLE001 - what follows the first frame is broken, and can raise anything
        return False


def _canvas(image: Image.Image) -> Image.Image:
    """Scale, turn upright, flatten: on a square canvas the order changes only the memory that it takes."""
    image.draft(image.mode, (SIZE, SIZE))
    turn = _turn(image)
    small = _scalable(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return _flat(_turned(small, turn))


def _sheet(image: Image.Image, side: int) -> Image.Image:
    image.draft(image.mode, (side, side))
    turn = _turn(image)
    flat = _flat(_scalable(image))
    image.close()
    return _turned(flat, turn)


def _scalable(image: Image.Image) -> Image.Image:
    """The picture in a mode that Pillow can interpolate, with its transparency if it has any."""
    image.load()
    if image.mode.startswith(("I", "F")):  # 16 bits: convert("RGB") would clip all but the darkest 1/256
        levels = np.asarray(image).clip(0, 65535).astype(np.uint16, copy=False)
        return Image.fromarray((levels >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else _with_alpha(image)  # converting RGBA again would copy it
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _with_alpha(image: Image.Image) -> Image.Image:
    """Convert and close the original: scaling makes another copy, and three would take too much memory."""
    alpha = image.convert("RGBA")
    image.close()
    return alpha


def _turn(image: Image.Image) -> Image.Transpose | None:
    """The transposition that makes the picture upright, by its EXIF orientation; None for a broken EXIF block."""
    image.load()  # a PNG may have its EXIF after its pixels; load them outside the try block
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - EXIF parsing raises SyntaxError, ValueError, struct.error, ...; the picture is fine
        return None


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image.transpose(turn) if turn is not None else image


def _flat(image: Image.Image) -> Image.Image:
    """The picture in RGB on the background. In strips: a large picture takes little more than its own size again."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        box = (0, top, image.width, min(top + _STRIP, image.height))
        flat.paste(_composed(image.crop(box)), box)
    return flat


def _composed(strip: Image.Image) -> Image.Image:
    background = Image.new("RGBA", strip.size, (*BACKGROUND, 255))
    return Image.alpha_composite(background, strip).convert("RGB")


def _broken(error: Exception) -> Rejected:
    if "MAX_TEXT_" in str(error):  # Pillow's limits on the unpacked size of a PNG's texts and colour profile
        limit = f"{PngImagePlugin.MAX_TEXT_CHUNK} bytes, {PngImagePlugin.MAX_TEXT_MEMORY} in all"
        return Rejected("metadata_too_large", limit, "more")
    reason = "truncated" if "truncated" in str(error).lower() else "corrupt"
    return Rejected(reason, "a complete file", f"{type(error).__name__}: {error}"[:200])
