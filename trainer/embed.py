"""Pictures to embeddings: the backbone is frozen, so each picture and view passes through it once, for all runs.

Each rank embeds its share of what the cache lacks; decoding runs ahead, so that the accelerator never waits for it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from trainer import cache, views
from trainer.cache import Cache, Embeddings
from trainer.errors import ManifestError, Rejected
from trainer.model import Detector
from trainer.preprocess import FINGERPRINT, Pixels, decode
from trainer.ranks import Ranks
from trainer.stop import Stopped
from trainer.weights import digest

#: Threads that decode for one rank, and batches that may wait decoded.
DECODERS = 4
AHEAD = 4
#: Pictures in one forward pass. On a CPU bigger batches are no faster.
CPU_BATCH = 4
CUDA_BATCH = 128
#: Embeddings in one segment of the cache: what a killed process has to do again.
SEGMENT = 512


@dataclass(frozen=True, slots=True)
class Source:
    """One picture, known by its digest, as one of its views."""

    path: Path
    sha256: str
    view: str = views.ORIGINAL

    @property
    def key(self) -> bytes:
        """What its embedding is known by."""
        return cache.key(self.sha256, self.view)


class Embedder:
    """Embeds sources with one detector's backbone, through the cache below ``root``."""

    def __init__(
        self, detector: Detector, root: Path, ranks: Ranks, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._stopping = stopping
        self._detector = detector.to(ranks.device)
        self._ranks = ranks
        self._batch = CPU_BATCH if ranks.device.type == "cpu" else CUDA_BATCH
        self._cache = Cache(root, [FINGERPRINT, digest(detector.backbone), detector.embedding])

    def embed(self, sources: Sequence[Source], path: Path, what: str) -> Embeddings:
        """(N, D) float32 embeddings in the order of ``sources``, memory-mapped at ``path`` on the first rank.

        Other ranks get the same from a file of their own. Raises `ManifestError` naming a picture that cannot be used.
        """
        if not sources:
            return np.empty((0, 0), dtype=np.float32)
        keys = [source.key for source in sources]
        missing = self._cache.missing(keys)
        self._ranks.meet()  # nobody adds to the cache before everybody has seen what it lacks
        mine = [sources[missing[place]] for place in self._ranks.share(len(missing))]
        self._embed_missing(mine, what)
        self._ranks.meet()
        return self._cache.gather(keys, path)

    def _embed_missing(self, sources: Sequence[Source], what: str) -> None:
        with tqdm(total=len(sources), desc=f"embed {what}", unit="image", disable=not self._ranks.first) as bar:
            for start in range(0, len(sources), SEGMENT):
                part = sources[start : start + SEGMENT]
                rows = []
                for embeddings in self._forwarded(decoded(part, self._batch)):
                    rows.append(embeddings)
                    bar.update(len(embeddings))
                    if self._stopping():
                        break
                done = np.concatenate(rows)
                self._cache.append([source.key for source in part[: len(done)]], done)
                if self._stopping():
                    raise Stopped

    def _forwarded(self, batches: Iterator[Pixels]) -> Iterator[Embeddings]:
        """Embeddings of batches, in order; on a CPU several batches at once, each on one thread.

        The last bits of a convolution depend on how many threads share it, and on nothing else: so N ranks give the
        bits of one.
        """
        if self._ranks.device.type == "cuda":
            yield from map(self._forward, batches)
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from _ahead(self._forward, batches, self._ranks.cpus)
        finally:
            torch.set_num_threads(threads)

    def _forward(self, pixels: Pixels) -> Embeddings:
        with torch.inference_mode():
            embeddings = self._detector.embed(torch.from_numpy(pixels).to(self._ranks.device))
            return np.asarray(embeddings.float().cpu())


def decoded(sources: Sequence[Source], batch: int) -> Iterator[Pixels]:
    """Batches of (B, 512, 512, 3) pixels, decoded ahead of their use, a bounded number of them at a time."""
    waiting: deque[list[Future[Pixels]]] = deque()
    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(sources), batch):
            waiting.append([pool.submit(pixels_of, source) for source in sources[start : start + batch]])
            if len(waiting) > AHEAD:
                yield _stacked(waiting.popleft())
        while waiting:
            yield _stacked(waiting.popleft())


def pixels_of(source: Source) -> Pixels:
    """What the detector sees of a source; raises `ManifestError` naming it."""
    try:
        return decode(views.apply(source.view, source.path.read_bytes(), source.sha256)).pixels
    except (OSError, Rejected) as error:
        raise ManifestError(f"picture {source.path} cannot be used: {error}") from error


def _ahead(run: Callable[[Pixels], Embeddings], batches: Iterator[Pixels], threads: int) -> Iterator[Embeddings]:
    waiting: deque[Future[Embeddings]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            waiting.append(pool.submit(run, batch))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _stacked(futures: list[Future[Pixels]]) -> Pixels:
    return np.stack([future.result() for future in futures])
