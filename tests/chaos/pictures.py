"""Small pictures that differ, and broken ones, drawn from a seed."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

#: Different good pictures. A score that belongs to another of them is noticed.
COUNT = 8
#: Bytes that make ``plug/sitecustomize.py`` harm whoever opens the picture.
CHARM = b"unmask-chaos:"
_HARMS = ("killer", "hog", "sleeper")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Good pictures by name, and the harmful ones by kind, as JPEG files."""

    good: dict[str, bytes]
    harmful: dict[str, bytes]

    def store(self, folder: Path) -> None:
        """Write the good ones to files, as ``NAME.jpg``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.good.items():
            (folder / f"{name}.jpg").write_bytes(data)


def draw(seed: int) -> Pictures:
    """The same pictures for the same seed."""
    random = np.random.default_rng(seed)
    good = {f"p{number}": _jpeg(_clouds(random)) for number in range(COUNT)}
    return Pictures(good, {kind: _jpeg(_clouds(random), CHARM + kind.encode()) for kind in _HARMS})


def _clouds(random: np.random.Generator) -> Image.Image:
    colours = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((160, 120), Image.Resampling.BICUBIC)


def _jpeg(image: Image.Image, comment: bytes = b"") -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, comment=comment)
    return file.getvalue()
