"""What people and phones do to real photos: a fake look that makes no photo fake.

Retouching, blurred backgrounds, night mode, enlarging, colour filters and scans of prints smooth noise or sharpen
edges, as image generators do. Real photos with such edits are the hard reals of a fit, and cohorts in which its false
positives are counted.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

#: One edit: the picture and the randomness of its strength to the edited picture.
Edit = Callable[[Image.Image, np.random.Generator], Image.Image]

_Grid = NDArray[np.float32]


def _retouch(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Smooth the skin but keep edges, and lighten it: what beauty filters do."""
    radius = max(image.size) * random.uniform(0.006, 0.02)
    sharp, smooth = _grid(image), _grid(image.filter(ImageFilter.GaussianBlur(radius)))
    detail = np.abs(sharp - smooth).mean(axis=2, keepdims=True)
    share = random.uniform(0.6, 1) * np.exp(-((detail / random.uniform(8, 25)) ** 2))
    smoothed = _image(sharp + share * (smooth - sharp))
    return ImageEnhance.Brightness(smoothed).enhance(random.uniform(1, 1.12))


def _bokeh(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Blur all but an ellipse in the middle: a phone's portrait mode."""
    width, height = image.size
    across, up, down = random.uniform(0.25, 0.4), random.uniform(0.35, 0.5), random.uniform(0.5, 0.7)
    mask = Image.new("L", image.size)
    box = (width * (0.5 - across), height * (0.5 - up), width * (0.5 + across), height * (0.5 + down))
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(max(image.size) * random.uniform(0.01, 0.04)))
    behind = image.filter(ImageFilter.GaussianBlur(max(image.size) * random.uniform(0.01, 0.04)))
    return Image.composite(image, behind, mask)


def _night(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Noise of a dark shot, taken away by a strong denoiser and sharpened: a phone's night mode."""
    noisy = _grid(image) * random.uniform(0.6, 0.9)
    noisy += random.normal(0, random.uniform(4, 12), noisy.shape)
    clean = _image(noisy).filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.GaussianBlur(0.6))
    lightened = ImageEnhance.Brightness(clean).enhance(random.uniform(1.1, 1.6))
    return lightened.filter(ImageFilter.UnsharpMask(2, int(random.uniform(50, 150)), 2))


def _upscale(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A small picture enlarged and sharpened."""
    factor = random.uniform(1.6, 3.2)
    small = image.resize((max(1, int(image.width / factor)), max(1, int(image.height / factor))), _LANCZOS)
    return small.resize(image.size, _LANCZOS).filter(ImageFilter.UnsharpMask(2, int(random.uniform(80, 220)), 2))


def _filter(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Contrast, saturation, tint and vignette: a colour filter."""
    graded = ImageEnhance.Color(image).enhance(random.uniform(0.3, 1.7))
    graded = ImageEnhance.Contrast(graded).enhance(random.uniform(0.75, 1.35))
    tinted = _grid(graded) * random.uniform(0.88, 1.12, size=3).astype(np.float32)
    rows, columns = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    vignette = 1 - random.uniform(0, 0.35) * (rows**2 + columns**2) / 2
    return _image(tinted * vignette[:, :, None])


def _scan(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """A print on a scanner: a slight turn, less contrast, the paper's grain, and a soft lens."""
    turned = image.rotate(random.uniform(-3, 3), Image.Resampling.BICUBIC, fillcolor=(236, 233, 226))
    soft = _grid(turned.filter(ImageFilter.GaussianBlur(random.uniform(0.4, 1.1))))
    faded = 20 + soft * random.uniform(0.75, 0.92)
    faded += random.normal(0, random.uniform(1.5, 5), (*faded.shape[:2], 1))
    return _image(faded)


_LANCZOS = Image.Resampling.LANCZOS

#: The edits by name.
EDITS: dict[str, Edit] = {
    "retouch": _retouch,
    "bokeh": _bokeh,
    "night": _night,
    "upscale": _upscale,
    "filter": _filter,
    "scan": _scan,
}


def _grid(image: Image.Image) -> _Grid:
    """(H, W, 3) levels, 0 to 255."""
    return np.asarray(image.convert("RGB"), dtype=np.float32).copy()


def _image(levels: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))
