"""File facts: how a picture is stored. A fact that predicts the labels is a shortcut.

They come from the header and the quantisation tables; only greyscale needs pixels, of a JPEG at an eighth of the scale.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from trainer.pixels.preprocess import open_checked, read_ended

#: A picture is greyscale when its channels differ by at most this in all but one pixel of a thousand: JPEG rounds.
_GREY_SPREAD, _GREY_QUANTILE = 12, 0.999
#: The size at which pictures are checked for colour, in pixels, approximately.
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
class FileFacts:
    """How one picture is stored. ``quality`` is IJG's 1 to 100, 0 if not a JPEG; ``aspect`` is width / height."""

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


def file_facts(data: bytes) -> FileFacts:
    """The facts of one file; raises `Rejected` as `trainer.pixels.preprocess.decode` does."""
    image = open_checked(data)
    width, height = image.size
    jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
    return FileFacts(
        format="JPEG" if jpeg else image.format or "",  # Pillow calls a JPEG that holds a second picture MPO
        width=width,
        height=height,
        aspect=width / height,
        bytes=len(data),
        bytes_per_pixel=len(data) / (width * height),
        quality=_quality(image),
        subsampling=_SAMPLING.get(JpegImagePlugin.get_sampling(image), "other") if jpeg else "none",
        exif="exif" in image.info,
        alpha=image.has_transparency_data,
        greyscale=_greyscale(image, data),  # must come last: it loads the picture at another size
    )


def _quality(image: Image.Image) -> int:
    """The quality at which libjpeg's luminance table is nearest to the picture's (cameras have their own tables)."""
    tables = image.quantization if isinstance(image, JpegImagePlugin.JpegImageFile) else {}
    if not tables:
        return 0
    distances = np.abs(_TABLES - np.asarray(tables[min(tables)])).sum(axis=1)
    return 100 - int(np.argmin(distances[::-1]))


def _tables() -> NDArray[np.int64]:
    """(100, 64): the luminance table at each quality, as in libjpeg's jcparam.c."""
    quality = np.arange(1, 101)[:, None]
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)  # noqa: PLR2004 - half quality, its turning point
    return np.asarray(np.clip((_LUMINANCE * scale + 50) // 100, 1, 255))


def _greyscale(image: Image.Image, data: bytes) -> bool:
    if image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F")):
        return True
    pixels = np.asarray(read_ended(_glance, image, data), dtype=np.int16)
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return bool(np.quantile(spread, _GREY_QUANTILE) <= _GREY_SPREAD)


def _glance(image: Image.Image) -> Image.Image:
    """The picture scaled down, a JPEG while it is decoded."""
    image.draft("RGB", (_GLANCE, _GLANCE))
    return image.convert("RGB").reduce(max(1, min(image.size) // _GLANCE))


_TABLES = _tables()
