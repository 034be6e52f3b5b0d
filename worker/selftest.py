"""Before a worker serves, its model scores a picture that we make: a number, and the same twice."""

import math

import numpy as np

from trainer.preprocess import SIZE, Pixels
from worker.errors import ScoringError
from worker.scorer import Scorer

#: Of two scores of one picture: on a GPU sums may come in another order.
_TOLERANCE = 1e-5


def check(scorer: Scorer) -> None:
    """Raises `ScoringError` when the model gives no score, or two."""
    first, second = scorer.score([picture()])[0], scorer.score([picture()])[0]
    if not math.isclose(first, second, abs_tol=_TOLERANCE):
        raise ScoringError(f"model {scorer.card.name} scored one picture {first:.6f} and {second:.6f}")


def picture() -> Pixels:
    """Rings and slopes, the same on every machine."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    rings = (rows * rows + columns * columns) // SIZE
    return np.stack([rings % 256, rows // 2, columns // 2], axis=2).astype(np.uint8)
