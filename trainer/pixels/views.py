"""Views of photos, for augmentation and robustness: recompressed, rescaled, mirrored, cropped, blurred, grey.

A view maps bytes to bytes before the decoder, as happens to uploads, so the decoder sees what it would have been sent.
Views have names; a view's name and the picture's digest determine the resulting bytes.
"""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from trainer.errors import TrainerError
from trainer.pixels.edits import EDITS
from trainer.pixels.limits import LIMITS
from trainer.pixels.preprocess import SIZE, Pixels, decode, upright

#: A change of a picture by chance.
_Change = Callable[[Image.Image, np.random.Generator], Image.Image]

#: The view that is the picture itself.
ORIGINAL = ""
_AND = "+"
#: IJG's quality of every normalised picture: about what sites write for profile photos.
NORMAL_QUALITY = 85
#: The seed of the deliveries by which a worker judges how stable a score is. Raise it when they change: scores keep it.
REDELIVERY = 1
#: How many of them: forward passes that a photo near a threshold costs besides its own.
REDELIVERIES = 8
#: The smallest longer side, in pixels, to which a random view scales a picture down before scaling it up again.
SMALLEST = 96


def apply_view(view: str, data: bytes, image_sha256: str) -> bytes:
    """The bytes of a view, or of several joined with "+".

    Views are ``upload:SEED:N``, ``delivery:SEED:N``, ``edit:SEED:N``, ``normal:0``, a degradation such as ``jpeg:60``,
    and of older fits ``random:SEED:N``.

    Raises `TrainerError` for an unknown view, and `Rejected` as `trainer.pixels.preprocess.decode` does.
    """
    for step in view.split(_AND) if view else ():
        data = _step(step, data, image_sha256)
    return data


def redeliveries(data: bytes) -> list[Pixels]:
    """The detector's input for `REDELIVERIES` other deliveries of a photo: views ``delivery:SEED:1`` and on.

    The same file always gives the same ones. Raises `Rejected` as `trainer.pixels.preprocess.decode` does.
    """
    image, image_sha256 = _handy(upright(data)), hashlib.sha256(data).hexdigest()
    names = [f"delivery:{REDELIVERY}:{number}" for number in range(1, REDELIVERIES + 1)]
    return [decode(_delivered(image, _generator(name, image_sha256))).pixels for name in names]


def join_views(*names: str) -> str:
    """The view that applies these views one after the other."""
    return _AND.join(name for name in names if name != ORIGINAL)


def _step(view: str, data: bytes, image_sha256: str) -> bytes:
    kind, _, rest = view.partition(":")
    if kind == "random":
        return _random(_handy(upright(data)), _generator(view, image_sha256))
    if kind == "upload":
        return _upload(_handy(upright(data)), _generator(view, image_sha256))
    if kind == "delivery":
        return _delivered(_handy(upright(data)), _generator(view, image_sha256))
    if kind == "edit":
        return _edited(_handy(upright(data)), _generator(view, image_sha256))
    if kind == "normal":
        return normalise(data)
    if kind in DEGRADATIONS and rest.isdecimal():
        return DEGRADATIONS[kind](_handy(upright(data)), int(rest))
    raise TrainerError(
        f"view {view!r} is unknown: use upload:SEED:N, delivery:SEED:N, edit:SEED:N, "
        f"{', '.join(f'{name}:N' for name in DEGRADATIONS)}"
    )


def random_views(count: int, seed: int) -> list[str]:
    """The names of the original and ``count`` random views of every picture, as uploads change it."""
    return [ORIGINAL, *(f"upload:{seed}:{number}" for number in range(1, count + 1))]


def edited_views(count: int, seed: int) -> list[str]:
    """The names of ``count`` views with edits that make hard reals, each another kind for most pictures."""
    return [f"edit:{seed}:{number}" for number in range(1, count + 1)]


def normalise(data: bytes) -> bytes:
    """The picture as the detector sees it, 512×512, upright, RGB on white, as a JPEG of quality 85, 4:2:0, no metadata.

    The remedy when files give the labels away: format, width, height, aspect, quality, chroma subsampling,
    transparency and EXIF become the same for all. The canvas is that of `trainer.pixels.preprocess.decode`: the whole
    picture, squeezed to a square. Keeping the shape or the size of small pictures would keep aspect and size as
    shortcuts, bars around the picture would show them too, and cropping would lose what the detector sees when it
    serves. Decoded again, it is the picture that serving sees, but for one JPEG encoding.

    What the picture itself carries stays: greyscale, blur from enlarging a small one, traces of an earlier encoding.
    The shortcut guard sees the first of these; no file fact shows the others. Raises `Rejected` as `decode` does.
    """
    file = io.BytesIO()
    Image.fromarray(decode(data).pixels).save(file, "JPEG", quality=NORMAL_QUALITY, subsampling="4:2:0")
    return file.getvalue()


def down_and_up(image: Image.Image, side: int) -> Image.Image:
    """The image scaled down until its longer side has ``side`` pixels, and up again, which loses detail."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    small = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), _BICUBIC)
    return small.resize(image.size, _BICUBIC)


_BICUBIC = Image.Resampling.BICUBIC


def _handy(image: Image.Image) -> Image.Image:
    """A big picture at a whole fraction of its size, as JPEG's decoder scales it: views then stay within the limits."""
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


#: The sweeps of the paper's Figure 3, and the two flips that it tried.
DEGRADATIONS: dict[str, Callable[[Image.Image, int], bytes]] = {
    "resize": lambda image, side: _lossless(down_and_up(image, side)),
    "jpeg": _jpeg,
    "mirror": lambda image, _: _lossless(ImageOps.mirror(image)),
    "flip": lambda image, _: _lossless(ImageOps.flip(image)),
}


def _generator(view: str, image_sha256: str) -> np.random.Generator:
    seed = hashlib.sha256(f"{view} {image_sha256}".encode()).digest()
    return np.random.default_rng(int.from_bytes(seed[:16]))


def _changed(image: Image.Image, random: np.random.Generator, changes: Sequence[tuple[float, _Change]]) -> Image.Image:
    """Apply each change with its probability, in this order."""
    for chance, change in changes:
        if random.random() < chance:
            image = change(image, random)
    return image


def _random(image: Image.Image, random: np.random.Generator) -> bytes:
    """Apply each change at random, in the order in which uploads meet them; re-encode at quality 40 to 100."""
    return _jpeg(_changed(image, random, _CHANGES), int(random.integers(40, 101)))


def _upload(image: Image.Image, random: np.random.Generator) -> bytes:
    """Apply each change at random, then scale down to a small avatar, which stays small; quality 60 to 95."""
    return _jpeg(_changed(image, random, _UPLOAD_CHANGES), int(random.integers(60, 96)))


def _delivered(image: Image.Image, random: np.random.Generator) -> bytes:
    """Cropped by up to 5 % each way, scaled by 0.5 to 2, re-encoded at quality 60 to 95: the same photo once more."""
    return _jpeg(_changed(image, random, _DELIVERY_CHANGES), int(random.integers(60, 96)))


def _edited(image: Image.Image, random: np.random.Generator) -> bytes:
    """One edit that makes a real photo hard to tell from a fake; quality 75 to 92."""
    name = str(random.choice(sorted(EDITS)))
    return _jpeg(EDITS[name](image, random), int(random.integers(75, 93)))


def _avatar(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Scaled down to a longer side of 96 to 512 pixels, by one of the filters that sites use."""
    longest = max(image.size)
    smallest, largest = min(SMALLEST, longest), min(SIZE, longest)
    scale = int(np.exp(random.uniform(np.log(smallest), np.log(largest)))) / longest
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, _SITE_FILTERS[int(random.integers(len(_SITE_FILTERS)))]) if _allowed(*size) else image


_SITE_FILTERS = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
)


def _scaled(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Scaled by 0.5 to 2, and never to more than twice the detector's input, beyond which it sees no detail."""
    scale = min(float(np.exp(random.uniform(np.log(0.5), np.log(2)))), max(1.0, 2 * SIZE / max(image.size)))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, _SITE_FILTERS[int(random.integers(len(_SITE_FILTERS)))]) if _allowed(*size) else image


def _crop(image: Image.Image, random: np.random.Generator, most: float = 0.08) -> Image.Image:
    """Cut off up to ``most`` of the width or height at each side."""
    left, top, right, bottom = random.uniform(0, most, size=4)
    width, height = image.size
    box = int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)
    return image.crop(box) if _allowed(box[2] - box[0], box[3] - box[1]) else image


def _allowed(width: int, height: int) -> bool:
    """Whether the decoder accepts this size: a crop must not make a picture that it refuses."""
    shorter, longer = sorted((width, height))
    return shorter >= LIMITS.min_side and longer <= LIMITS.max_aspect * shorter


def _rescale(image: Image.Image, random: np.random.Generator) -> Image.Image:
    smallest = min(SMALLEST, max(image.size))
    side = np.exp(random.uniform(np.log(smallest), np.log(max(image.size))))
    return down_and_up(image, int(side))


def _blur(image: Image.Image, random: np.random.Generator) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.5)))


_CHANGES: tuple[tuple[float, _Change], ...] = (
    (0.5, lambda image, _: ImageOps.mirror(image)),
    (0.5, _crop),
    (0.4, _rescale),
    (0.1, _blur),
    (0.15, lambda image, _: image.convert("L").convert("RGB")),
)

_UPLOAD_CHANGES: tuple[tuple[float, _Change], ...] = (
    (0.5, lambda image, _: ImageOps.mirror(image)),
    (0.5, _crop),
    (0.7, _avatar),
    (0.1, lambda image, random: image.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.2)))),
    (0.12, lambda image, _: image.convert("L").convert("RGB")),
)

_DELIVERY_CHANGES: tuple[tuple[float, _Change], ...] = (
    (0.5, partial(_crop, most=0.025)),
    (0.7, _scaled),
)
