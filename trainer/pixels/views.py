"""What happens to photos on their way: recompressed, rescaled, mirrored, cropped, blurred, made grey.

A view is bytes to bytes, before the decoder, as it is in the world: the decoder then sees what it would have been sent.
Views have names; a view's name and the picture's digest say exactly which bytes come out.
"""

import hashlib
import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from trainer.errors import TrainerError
from trainer.pixels.limits import LIMITS
from trainer.pixels.normalise import normalise
from trainer.pixels.preprocess import SIZE, upright

#: The picture as it is.
ORIGINAL = ""
_AND = "+"
#: Shortest side to which a random view scales a picture down, before it scales it up again.
SMALLEST = 96


def apply(view: str, data: bytes, image_sha256: str) -> bytes:
    """The picture as this view shows it: ``random:SEED:N``, a degradation such as ``jpeg:60``, or several, joined."""
    for step in view.split(_AND) if view else ():
        data = _step(step, data, image_sha256)
    return data


def joined(*names: str) -> str:
    """The view that applies these one after the other."""
    return _AND.join(name for name in names if name != ORIGINAL)


def _step(view: str, data: bytes, image_sha256: str) -> bytes:
    kind, _, rest = view.partition(":")
    if kind == "random":
        return _random(_handy(upright(data)), _generator(view, image_sha256))
    if kind == "normal":
        return normalise(data)
    if kind in DEGRADATIONS and rest.isdecimal():
        return DEGRADATIONS[kind](_handy(upright(data)), int(rest))
    raise TrainerError(f"view {view!r} is not known: random:SEED:N, {', '.join(f'{name}:N' for name in DEGRADATIONS)}")


def random_views(count: int, seed: int) -> list[str]:
    """The names of the original and ``count`` random views of every picture."""
    return [ORIGINAL, *(f"random:{seed}:{number}" for number in range(1, count + 1))]


def down_and_up(image: Image.Image, side: int) -> Image.Image:
    """Scaled down until its longer side has ``side`` pixels, and up again: what is lost is lost."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), _BICUBIC)
    return small.resize(image.size, _BICUBIC)


_BICUBIC = Image.Resampling.BICUBIC


def _handy(image: Image.Image) -> Image.Image:
    """A big picture at a whole fraction of its size, as JPEG's decoder does: what comes out keeps within the limits."""
    factor = math.isqrt(image.width * image.height) // (2 * SIZE)
    return image.reduce(factor) if factor > 1 else image


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _lossless(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


#: The sweeps of the paper's Figure 3, and the two turns that it tried.
DEGRADATIONS: dict[str, Callable[[Image.Image, int], bytes]] = {
    "resize": lambda image, side: _lossless(down_and_up(image, side)),
    "jpeg": _jpeg,
    "mirror": lambda image, _: _lossless(ImageOps.mirror(image)),
    "flip": lambda image, _: _lossless(ImageOps.flip(image)),
}


def _generator(view: str, image_sha256: str) -> np.random.Generator:
    seed = hashlib.sha256(f"{view} {image_sha256}".encode()).digest()
    return np.random.default_rng(int.from_bytes(seed[:16]))


def _random(image: Image.Image, random: np.random.Generator) -> bytes:
    """Each change by chance, in the order in which they happen to uploads; re-encoded at quality 40 to 100 at last."""
    for chance, change in _CHANGES:
        if random.random() < chance:
            image = change(image, random)
    return _jpeg(image, int(random.integers(40, 101)))


def _crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    left, top, right, bottom = random.uniform(0, 0.08, size=4)
    width, height = image.size
    box = int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)
    return image.crop(box) if _allowed(box[2] - box[0], box[3] - box[1]) else image


def _allowed(width: int, height: int) -> bool:
    """Whether the decoder takes pictures of this size: a crop must not undo that."""
    shorter, longer = sorted((width, height))
    return shorter >= LIMITS.min_side and longer <= LIMITS.max_aspect * shorter


def _rescale(image: Image.Image, random: np.random.Generator) -> Image.Image:
    smallest = min(SMALLEST, max(image.size))
    side = np.exp(random.uniform(np.log(smallest), np.log(max(image.size))))
    return down_and_up(image, int(side))


def _blur(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.5)))


_CHANGES: tuple[tuple[float, Callable[[Image.Image, np.random.Generator], Image.Image]], ...] = (
    (0.5, lambda image, _: ImageOps.mirror(image)),
    (0.5, _crop),
    (0.4, _rescale),
    (0.1, _blur),
    (0.15, lambda image, _: image.convert("L").convert("RGB")),
)
