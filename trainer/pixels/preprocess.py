"""Bytes to 512×512 RGB: the only decoder in the house.

Training and serving call the same ``decode``; its ``FINGERPRINT`` travels with every checkpoint and score, so that
a picture is never scored on other pixels than the detector was trained on.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from trainer.errors import Rejected
from trainer.pixels.limits import LIMITS, Limits, check_bytes, check_header
from trainer.pixels.metered import Metered
from trainer.pixels.scans import count

#: Raise this when the pixels that come out may change; the golden hash in the tests notices if you forget.
VERSION = 1
#: Width and height of what the detector sees, in pixels (the paper's).
SIZE = 512
#: What lies behind transparent pictures.
BACKGROUND = (255, 255, 255)
#: Formats that profile photos come in. Others (EPS, TIFF, ...) reach code that hostile files have broken before.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
#: Says how pixels are made; stored in checkpoints and beside scores.
FINGERPRINT = f"unmask-{VERSION}-{SIZE}-draft-bilinear-white"

Pixels = NDArray[np.uint8]

#: Rows that are flattened at a time: three copies of them are made.
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

# The texts and the colour profile of a PNG, unpacked: one of them, and all together.
PngImagePlugin.MAX_TEXT_CHUNK = 1024 * 1024
PngImagePlugin.MAX_TEXT_MEMORY = 8 * 1024 * 1024
# Of a file that is odd but readable Pillow warns: no news to us, and no reason to print or, under -W error, to refuse.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# Between one and two times Pillow's own limit it only warns; here that is an error too, and never a print.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: ``pixels`` is (512, 512, 3) uint8 RGB; ``width`` and ``height`` are those of the file.

    ``animated``: the pixels are those of the first of its frames.
    """

    pixels: Pixels
    width: int
    height: int
    format: str
    animated: bool = False


def decode(data: bytes, limits: Limits = LIMITS) -> Picture:
    """Decode one photo to 512×512 RGB, upright, whole (the paper does not crop to the face).

    Raises `Rejected` for anything else: its reason is one of ``empty``, ``too_many_bytes``, ``not_an_image``,
    ``too_many_pixels``, ``side_too_long``, ``side_too_short``, ``too_elongated``, ``too_many_scans``,
    ``too_many_parts``, ``metadata_too_large``, ``truncated``, ``corrupt``.
    """
    image = _checked(data, limits)
    width, height = image.size
    animated = _animated(image, data, limits)
    return Picture(np.asarray(_whole(_canvas, image)), width, height, image.format or "", animated)


def upright(data: bytes, limits: Limits = LIMITS) -> Image.Image:
    """The photo as RGB at its own size (a big JPEG at half its size, or less), for those who make views of it.

    Raises `Rejected` as `decode` does.
    """
    image = _checked(data, limits)
    image.draft(image.mode, (2 * SIZE, 2 * SIZE))
    return _whole(_sheet, image)


def _checked(data: bytes, limits: Limits) -> Image.Image:
    check_bytes(len(data), limits)
    scans = count(data)
    image = _open(data, limits)
    check_header(image, scans, limits)
    return image


def _whole(read: Callable[[Image.Image], Image.Image], image: Image.Image) -> Image.Image:
    try:
        return read(image)
    except Rejected:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them raise
        raise _broken(error) from error


def _open(data: bytes, limits: Limits) -> Image.Image:
    try:
        return Image.open(Metered(data, limits.max_reads), formats=FORMATS)
    except Rejected:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Rejected("too_many_pixels", f"{limits.max_pixels} pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise Rejected("not_an_image", "/".join(FORMATS), f"{len(data)} bytes of something else") from error
    except Exception as error:  # a header can break a plugin in any way
        raise _broken(error) from error


def _animated(image: Image.Image, data: bytes, limits: Limits) -> bool:
    """Of a JPEG more pictures are no animation: phones keep depth and the like there."""
    if image.format != "GIF":
        return image.format in ("PNG", "WEBP") and bool(getattr(image, "is_animated", False))
    try:  # only a second frame tells, and looking for it may leave the file at any place
        return bool(getattr(_open(data, limits), "is_animated", False))
    except Exception:  # noqa: BLE001 - what comes after the first frame is broken, in any way
        return False


def _canvas(image: Image.Image) -> Image.Image:
    """Scale, then turn upright, then flatten: on a square canvas the order makes no difference but in memory."""
    image.draft(image.mode, (SIZE, SIZE))
    turn = _turn(image)
    small = _scalable(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return _flat(_turned(small, turn))


def _sheet(image: Image.Image) -> Image.Image:
    turn = _turn(image)
    flat = _flat(_scalable(image))
    image.close()
    return _turned(flat, turn)


def _scalable(image: Image.Image) -> Image.Image:
    """The picture in a mode that can be interpolated, with its transparency if it has any."""
    image.load()
    if image.mode.startswith(("I", "F")):  # 16 bits: convert("RGB") would clip all but the darkest 1/256
        levels = np.asarray(image).clip(0, 65535).astype(np.uint16, copy=False)
        return Image.fromarray((levels >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else _with_alpha(image)  # which would copy it
    return image if image.mode in ("L", "RGB", "CMYK") else image.convert("RGB")


def _with_alpha(image: Image.Image) -> Image.Image:
    """The original is let go of: scaling makes another copy, and three would be too many."""
    alpha = image.convert("RGBA")
    image.close()
    return alpha


def _turn(image: Image.Image) -> Image.Transpose | None:
    """As the camera said; a broken EXIF block says nothing."""
    image.load()  # a PNG may say it after its pixels, whose errors are not this block's
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - SyntaxError, ValueError, struct.error, ...: the picture itself is fine
        return None


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image.transpose(turn) if turn is not None else image


def _flat(image: Image.Image) -> Image.Image:
    """In strips: a large picture takes hardly more than its own size again."""
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
    if "MAX_TEXT_" in str(error):  # Pillow's own limits, on what a PNG's texts and colour profile unpack to
        limit = f"{PngImagePlugin.MAX_TEXT_CHUNK} bytes, {PngImagePlugin.MAX_TEXT_MEMORY} in all"
        return Rejected("metadata_too_large", limit, "more")
    reason = "truncated" if "truncated" in str(error).lower() else "corrupt"
    return Rejected(reason, "a complete file", f"{type(error).__name__}: {error}"[:200])
