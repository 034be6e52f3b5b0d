"""Scores of pictures from cached embeddings, by one detector or by two that are fused; and by an int8 network."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.detector.fusion import FusedDetector, fuse_scores
from trainer.detector.model import Detector
from trainer.detector.scoring_network import QuantisedDetector
from trainer.distributed.process import Stopped
from trainer.distributed.ranks import Ranks
from trainer.fitting.embed import Embedder, Source, decode_ahead
from trainer.fitting.head import score_embeddings
from trainer.judging.metrics import Scores
from trainer.pixels.preprocess import Pixels
from trainer.progress import progress_bar


@dataclass(frozen=True, slots=True)
class SourceScorer:
    """Scores sources through the cache below ``cache``; ``scratch`` is a folder of this rank's own."""

    cache: Path
    place: Ranks
    stopping: Callable[[], bool]
    scratch: Path

    def scores(self, detector: Detector, sources: Sequence[Source], what: str) -> Scores:
        """(n,) scores of n sources. Raises as `Embedder.fill` does."""
        if isinstance(detector, FusedDetector):
            return np.asarray(fuse_scores(self.key_scores(detector.detectors(), sources, what), detector.scales))
        if isinstance(detector, QuantisedDetector):
            return network_scores(detector.scores, sources, what, self.stopping, shown=self.place.first)
        embedder = Embedder(detector, self.cache, self.place, self.stopping)
        embeddings = embedder.embed(sources, self.scratch / "scored.npy", what)
        with _one_thread():
            return score_embeddings(detector, embeddings)

    def key_scores(self, keys: Sequence[Detector], sources: Sequence[Source], what: str) -> torch.Tensor:
        """(k, n) scores of k detectors."""
        return torch.from_numpy(np.stack([self.scores(key, sources, what) for key in keys]))


def network_scores(
    score: Callable[[Sequence[Pixels]], NDArray[np.float32]],
    sources: Sequence[Source],
    what: str,
    stopping: Callable[[], bool],
    *,
    shown: bool = True,
) -> Scores:
    """(n,) scores by a network that gives no embeddings: nothing is cached, and each rank scores all sources.

    Raises `ManifestError` naming a picture that cannot be used, and `Stopped` when asked to stop.
    """
    found: list[NDArray[np.float32]] = []
    with (
        progress_bar(len(sources), f"score {what}", "image", shown=shown) as bar,
        closing(decode_ahead(sources, 1)) as batches,
    ):
        for pixels in batches:
            if stopping():
                raise Stopped
            found.append(score(list(pixels.numpy())))
            bar.update(len(pixels))
    return np.concatenate(found).astype(np.float64)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: a score's last bits depend on the number of threads, which torchrun sets per rank."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
