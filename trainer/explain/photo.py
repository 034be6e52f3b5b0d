"""Explains one photo's score: its attribution map as a picture and as numbers."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer.detector.checkpoint import load
from trainer.distributed.ranks import device_of
from trainer.errors import Rejected, TrainerError
from trainer.explain.attribution import Explanation, Map, explain
from trainer.explain.overlay import layer, overlay, with_legend
from trainer.files import atomic_write, read_bounded
from trainer.pixels.limits import LIMITS
from trainer.pixels.preprocess import SIZE, Pixels, decode

__all__ = ["explain", "explain_file", "explanation_summary", "layer", "overlay", "with_legend"]

#: The number of rows, and of columns, of the summary's grid.
GRID = 4


def explanation_summary(explanation: Explanation) -> dict[str, Any]:
    """An explanation in numbers; ``positive_share`` is the share of evidence for "AI" in each cell of a 4×4 grid."""
    return {
        "score": explanation.score,
        "logit": explanation.logit,
        "baseline_logit": explanation.baseline_logit,
        "completeness_error": explanation.completeness_error,
        "steps": explanation.steps,
        "positive_share": _positive_share(explanation.attribution),
    }


def _positive_share(attribution: Map) -> list[list[float]]:
    positive = np.maximum(attribution, 0, dtype=np.float64)
    cells = positive.reshape(GRID, SIZE // GRID, GRID, SIZE // GRID).sum(axis=(1, 3))
    shares: list[list[float]] = (cells / (cells.sum() or 1.0)).round(4).tolist()
    return shares


def explain_file(checkpoint: Path, photo: Path, out: Path, device: str = "auto") -> dict[str, Any]:
    """Explain a photo's score as a PNG at ``out``, written atomically, and as the numbers of `explanation_summary`.

    Raises `TrainerError` naming the photo, folder, checkpoint or device that will not do.
    """
    _check_out(out)
    pixels = _read(photo)
    detector, _ = load(checkpoint)
    explanation = explain(detector.to(device_of(device)), pixels)
    _write(with_legend(overlay(pixels, explanation.attribution), explanation.score), out)
    return explanation_summary(explanation)


def _check_out(out: Path) -> None:
    """Raise `TrainerError` before the work, which takes a while, rather than after it."""
    if not out.parent.is_dir():
        raise TrainerError(f"folder {out.parent} for the map does not exist")
    if out.is_dir():
        raise TrainerError(f"map {out} is a folder, not a file to write")


def _read(photo: Path) -> Pixels:
    try:
        return decode(read_bounded(photo, LIMITS.max_bytes)).pixels
    except FileNotFoundError as error:
        raise TrainerError(f"photo {photo} does not exist") from error
    except OSError as error:
        raise TrainerError(f"photo {photo} cannot be read: {error.strerror}") from error
    except Rejected as error:
        raise TrainerError(f"photo {photo} is refused: {error}") from error


def _write(picture: Image.Image, out: Path) -> None:
    try:
        with atomic_write(out) as part:
            picture.save(part, format="PNG")
    except OSError as error:
        raise TrainerError(f"map {out} cannot be written: {error.strerror}") from error
