"""Perceptual hash: 512 bits of a photo's look that survive another size, another encoding and a mirror."""

import importlib.util
from typing import Any

from PIL import Image, ImageOps

from trainer.pixels.preprocess import Pixels

#: 16 × 16 frequencies of the grey picture, each above their median or not (ImageHash's pHash, by the discrete cosine
#: transform of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010).
_SIDE = 16


def available() -> bool:
    """Whether the library is installed: it comes with the extra "clusters"."""
    return importlib.util.find_spec("imagehash") is not None


def perceptual_hash(pixels: Pixels) -> bytes:
    """The hash of (512, 512, 3) uint8 pixels, then that of their mirror image: 32 bytes each."""
    image = Image.fromarray(pixels)
    return _hash(image) + _hash(ImageOps.mirror(image))


def _hash(image: Image.Image) -> bytes:
    import imagehash
    import numpy as np

    bits: Any = imagehash.phash(image, hash_size=_SIDE).hash
    return np.packbits(bits.reshape(-1)).tobytes()
