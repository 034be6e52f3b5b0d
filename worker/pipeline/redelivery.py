"""Scores a photo near a threshold again over a few other deliveries of it, in the batches that are running anyway."""

from collections.abc import Callable

from db.stats.stability import Stability
from trainer.errors import Rejected
from trainer.pixels.preprocess import Pixels
from trainer.pixels.views import REDELIVERY
from worker.core.batcher import Batcher
from worker.core.errors import DecoderError
from worker.inference.model_server import ActivePair, ModelServer
from worker.inference.scorer import Reading
from worker.telemetry import metrics

#: The batcher of forward passes: for each picture the pair that read it, its reading, and the shadow's score.
ScoreBatcher = Batcher[Pixels, tuple[ActivePair, Reading, float | None]]


class RedeliveryScorer:
    """Measures how stable the scores are of photos within their policy's band. Safe to call from many threads."""

    def __init__(self, models: ModelServer, scores: ScoreBatcher) -> None:
        self._models = models
        self._scores = scores

    def measure(
        self, policy: str, pair: ActivePair, score: float, make: Callable[[], list[Pixels]]
    ) -> Stability | None:
        """The limits of a score; None far from the threshold, and where the policy judges by the score alone.

        Also None where the other deliveries cannot be made, or another version became active meanwhile: then the score
        alone decides, as it does everywhere else.
        """
        band = self._models.bands.get(policy)
        if band is None or score not in band:
            return None
        try:
            pictures = make()
        except (Rejected, DecoderError):
            metrics.redelivered.labels("failed").inc()
            return None
        with self._scores.expecting_more():  # all of them in one batch
            waiting = [self._scores.submit(picture) for picture in pictures]
        found = [future.result() for future in waiting]
        metrics.redelivered.labels("scored").inc()
        if any(other.active is not pair.active for other, *_ in found):
            return None
        return Stability.of(score, [reading.score for _, reading, _ in found], REDELIVERY)
