"""What it costs to believe neither a path nor a file: fetch and decode with every check, and without any."""

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tests.benchmarks import pictures
from tests.benchmarks.measured import Measured, difference, in_turns, ratio
from trainer.pixels.preprocess import SIZE, decode
from worker.photos.fetch import Fetcher
from worker.core.settings import FetchSettings

_PHOTOS, _PHOTO_SIZE, _ROUNDS = 24, (1600, 1200), 15


def measure() -> list[Measured]:
    """Milliseconds of processor time an image, in paired rounds."""
    with tempfile.TemporaryDirectory(prefix="unmask-bench-") as name:
        paths = pictures.make(Path(name), _PHOTOS, _PHOTO_SIZE)
        fetcher = Fetcher(FetchSettings(media_root=Path(name)))
        pairs = in_turns(
            lambda: _cost_ms(lambda path: decode(fetcher.fetch(path.name)).pixels, paths),
            lambda: _cost_ms(_unchecked, paths),
            _ROUNDS,
        )
    return [
        ratio("fetch and decode: of the same without any check", pairs, key="boundary_ratio"),
        difference("all checks, an image", "ms", pairs, key="boundary_ms"),
    ]


def _unchecked(path: Path) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.draft("RGB", (SIZE, SIZE))
    small = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(ImageOps.exif_transpose(small).convert("RGB"))


def _cost_ms(work: Callable[[Path], NDArray[np.uint8]], paths: list[Path]) -> float:
    start = time.thread_time()
    for path in paths:
        work(path)
    return 1000 * (time.thread_time() - start) / len(paths)
