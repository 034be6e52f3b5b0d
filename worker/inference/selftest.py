"""Before a worker serves, its model scores a picture that we make: a number, and the same twice."""

import math

from worker.inference.engines import known_pictures
from worker.core.errors import ScoringError
from worker.inference.scorer import Scorer

#: Of two scores of one picture: on a GPU sums may come in another order.
_TOLERANCE = 1e-5


def check(scorer: Scorer) -> None:
    """Raises `ScoringError` when the model gives no score, or two."""
    picture = known_pictures()[0]
    first, second = scorer.score([picture])[0], scorer.score([picture])[0]
    if not math.isclose(first, second, abs_tol=_TOLERANCE):
        raise ScoringError(f"model {scorer.card.name} scored one picture {first:.6f} and {second:.6f}")
