"""Where in a photo the detector sees its evidence: one photo's map, as a picture and as numbers."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainer.explain.attribution import Explanation, Map, explain
from trainer.detector.checkpoint import load
from trainer.errors import Rejected, TrainerError
from trainer.explain.overlay import overlay
from trainer.pixels.preprocess import SIZE, Pixels, decode
from trainer.distributed.ranks import device_of

__all__ = ["explain", "explain_file", "overlay", "summary"]

#: Rows and columns of the summary's grid.
GRID = 4


def summary(explanation: Explanation) -> dict[str, Any]:
    """An explanation in numbers: ``positive_share`` says, by rows of a 4×4 grid, where what speaks for "AI" lies."""
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
    """Explain a photo's score as a PNG at ``out``, written atomically, and as the numbers of `summary`.

    Raises `TrainerError` naming the photo, folder, checkpoint or device that will not do.
    """
    _check_out(out)
    pixels = _read(photo)
    detector, _ = load(checkpoint)
    explanation = explain(detector.to(device_of(device)), pixels)
    _write(overlay(pixels, explanation.attribution), out)
    return summary(explanation)


def _check_out(out: Path) -> None:
    """Before the work, which takes a while, and not after it."""
    if not out.parent.is_dir():
        raise TrainerError(f"folder {out.parent} for the map does not exist")
    if out.is_dir():
        raise TrainerError(f"map {out} is a folder, not a file to write")


def _read(photo: Path) -> Pixels:
    try:
        return decode(photo.read_bytes()).pixels
    except FileNotFoundError as error:
        raise TrainerError(f"photo {photo} does not exist") from error
    except OSError as error:
        raise TrainerError(f"photo {photo} cannot be read: {error.strerror}") from error
    except Rejected as error:
        raise TrainerError(f"photo {photo} is refused: {error}") from error


def _write(picture: Image.Image, out: Path) -> None:
    part = out.with_name(f".{out.name}.part")
    try:
        picture.save(part, format="PNG")
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TrainerError(f"map {out} cannot be written: {error.strerror}") from error
