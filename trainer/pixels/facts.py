"""What can be told of a picture without looking at it: how it is stored. What tells the labels here is a shortcut.

Read from the header and the quantisation tables; only greyscale needs pixels, at an eighth of the scale where it can.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from trainer.pixels.limits import LIMITS
from trainer.pixels.preprocess import _checked, _whole

#: A picture is greyscale when its channels lie this close in all but one pixel of a thousand: JPEG rounds colours.
_GREY_SPREAD, _GREY_QUANTILE = 12, 0.999
#: Pictures are looked at for colour at about this size, in pixels.
_GLANCE = 64

# The luminance table of ITU-T T.81, annex K.1, which libjpeg scales by quality.
# fmt: off
_LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
])
# fmt: on
_SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


@dataclass(frozen=True, slots=True)
class Facts:
    """How one picture is stored. ``quality`` is IJG's 1 to 100, 0 where there is none; ``aspect`` is width/height."""

    format: str
    width: int
    height: int
    aspect: float
    bytes: int
    bytes_per_pixel: float
    quality: int
    subsampling: str
    greyscale: bool
    alpha: bool
    exif: bool


def facts(data: bytes) -> Facts:
    """The facts of one file; raises `Rejected` for what `preprocess.decode` would reject."""
    image = header(data)
    width, height = image.size
    jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
    return Facts(
        format="JPEG" if jpeg else image.format or "",  # Pillow calls a JPEG with a second picture behind it MPO
        width=width,
        height=height,
        aspect=width / height,
        bytes=len(data),
        bytes_per_pixel=len(data) / (width * height),
        quality=_quality(image),
        subsampling=_SAMPLING.get(JpegImagePlugin.get_sampling(image), "other") if jpeg else "none",
        exif="exif" in image.info,
        alpha=image.has_transparency_data,
        greyscale=_greyscale(image),  # the last: it loads the picture at another size
    )


def header(data: bytes) -> Image.Image:
    """A picture of which only the header has been read; raises `Rejected` when it is none, or beyond the limits."""
    return _checked(data, LIMITS)


def _quality(image: Image.Image) -> int:
    """The quality at which libjpeg's luminance table comes nearest to the picture's (cameras have their own tables)."""
    tables = image.quantization if isinstance(image, JpegImagePlugin.JpegImageFile) else {}
    if not tables:
        return 0
    distances = np.abs(_TABLES - np.asarray(tables[min(tables)])).sum(axis=1)
    return 100 - int(np.argmin(distances[::-1]))


def _tables() -> NDArray[np.int64]:
    """(100, 64): the luminance table at each quality, by libjpeg's jcparam.c."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)  # noqa: PLR2004 - half quality, its turning point
    return np.asarray(np.clip((_LUMINANCE * scale + 50) // 100, 1, 255))


def _greyscale(image: Image.Image) -> bool:
    if image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F")):
        return True
    pixels = np.asarray(_whole(_glance, image), dtype=np.int16)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return bool(np.quantile(spread, _GREY_QUANTILE) <= _GREY_SPREAD)


def _glance(image: Image.Image) -> Image.Image:
    """The picture made small, a JPEG while it is decoded."""
    image.draft("RGB", (_GLANCE, _GLANCE))
    return image.convert("RGB").reduce(max(1, min(image.size) // _GLANCE))


_TABLES = _tables()
