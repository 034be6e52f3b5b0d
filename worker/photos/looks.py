"""What a photo looks like, in 512 bits that survive another size, another encoding and a mirror: a perceptual hash."""

import importlib.util
from typing import Any

from PIL import Image, ImageOps

from trainer.pixels.preprocess import Pixels

#: Sixteen by sixteen frequencies of the grey picture, each above their median or not (pHash of ImageHash, by the
#: discrete cosine transform of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010).
_SIDE = 16


def available() -> bool:
    """Whether the library is there: it comes with the extra "clusters"."""
    return importlib.util.find_spec("imagehash") is not None


def looks_of(pixels: Pixels) -> bytes:
    """The hash of what was scored, and after it that of its mirror image: 32 bytes each."""
    image = Image.fromarray(pixels)
    return _hash(image) + _hash(ImageOps.mirror(image))


def _hash(image: Image.Image) -> bytes:
    import imagehash
    import numpy as np

    bits: Any = imagehash.phash(image, hash_size=_SIDE).hash
    return np.packbits(bits.reshape(-1)).tobytes()
