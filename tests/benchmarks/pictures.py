"""Photo-like JPEGs by the thousand, made on the spot: each another file, with the cost of a real one to decode."""

import io
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.distributed.process import cores

#: Pictures that differ in their pixels; the others differ from these in a comment, which every JPEG may carry.
DISTINCT = 256
_QUALITY = 90


def make(folder: Path, count: int, size: tuple[int, int] = (800, 800)) -> list[Path]:
    """So many files of that width and height in pixels below ``folder``; about 150 kB each at 800×800."""
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(cores()) as pool:
        originals = list(pool.map(lambda seed: _jpeg(seed, size), range(min(count, DISTINCT))))
        paths = [folder / f"{number:06}.jpg" for number in range(count)]
        for path, data in zip(paths, _numbered(originals, count), strict=True):
            path.write_bytes(data)
    return paths


def _numbered(originals: list[bytes], count: int) -> Iterator[bytes]:
    for number in range(count):
        data = originals[number % len(originals)]
        comment = struct.pack(">HHI", 0xFFFE, 6, number)  # a COM segment after SOI: ITU-T T.81, B.2.4.5
        yield data[:2] + comment + data[2:]


def _jpeg(seed: int, size: tuple[int, int]) -> bytes:
    """Smooth shapes with fine noise on them: compresses about as photos do."""
    random = np.random.default_rng(seed)
    shapes = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(size)
    pixels = np.asarray(shapes, dtype=np.float32) + random.normal(0, 5, (size[1], size[0], 1))
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
