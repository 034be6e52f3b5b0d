"""Pictures to embeddings: the backbone is frozen, so each picture and view passes through it once, for all runs.

Each rank embeds its share of what the cache lacks; decoding runs ahead, so that the accelerator never waits for it.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from trainer.fitting import cache
from trainer.pixels import views
from trainer.fitting.cache import Cache, Embeddings
from trainer.distributed.cores import cores
from trainer.errors import ManifestError, Rejected, TrainerError
from trainer.detector.model import Detector
from trainer.pixels.preprocess import FINGERPRINT, SIZE, Pixels, decode
from trainer.distributed.ranks import Ranks
from trainer.distributed.stop import Stopped
from trainer.detector.weights import architecture, digest

#: Batches that may wait decoded; more where that would leave cores idle.
AHEAD = 4
#: Pictures in one forward pass. On a CPU four take a gigabyte more than one, and are no faster.
CPU_BATCH = 1
CUDA_BATCH = 128
#: Embeddings in one segment of the cache: what a killed process has to do again.
SEGMENT = 512
#: The embeddings of no pictures.
NONE: Embeddings = np.empty((0, 0), dtype=np.float32)


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
        self._root, self._cache = root, Cache(root, made_by(detector))

    def embed(self, sources: Sequence[Source], path: Path, what: str) -> Embeddings:
        """(N, D) float32 embeddings in the order of ``sources``, memory-mapped at ``path``, a file of this rank's own.

        Raises as `fill` does.
        """
        self.fill(sources, what)
        return self.gather(sources, path)

    def fill(self, sources: Sequence[Source], what: str) -> None:
        """Embed what the cache lacks, each rank its share; when it returns all of them are there.

        Raises `ManifestError` naming a picture that cannot be used, and a `TrainerError` naming the cache when what
        other ranks made is not in it.
        """
        keys = [source.key for source in sources]
        missing = self._cache.missing(keys)
        self._ranks.meet()  # nobody adds to the cache before everybody has seen what it lacks
        mine = [sources[missing[place]] for place in self._ranks.share(len(missing))]
        self._embed_missing(mine, what)
        self._ranks.meet()
        if lacking := self._cache.missing(keys):
            raise TrainerError(
                f"ranks do not share --cache {self._root}, or one of them began anew: {len(lacking)} embeddings that "
                "others were to make are not there"
            )

    def gather(self, sources: Sequence[Source], path: Path) -> Embeddings:
        """What `fill` saw to, as `embed` gives it."""
        return self._cache.gather([source.key for source in sources], path) if sources else NONE

    def _embed_missing(self, sources: Sequence[Source], what: str) -> None:
        rows: list[Embeddings] = []
        done = 0
        with (
            tqdm(total=len(sources), desc=f"embed {what}", unit="image", disable=not self._ranks.first) as bar,
            closing(decoded(sources, self._batch, pinned=self._on_cuda)) as batches,
            closing(self._forwarded(batches)) as forwarded,  # or threads would be at work still when this ends early
        ):
            for embeddings in forwarded:
                rows.append(embeddings)
                done += len(embeddings)
                bar.update(len(embeddings))
                stopped = self._stopping()
                if stopped or sum(map(len, rows)) >= SEGMENT or done == len(sources):
                    self._keep(sources[:done], rows)
                    rows = []
                if stopped:
                    raise Stopped

    def _keep(self, done: Sequence[Source], rows: list[Embeddings]) -> None:
        """Put what was done last into the cache."""
        embeddings = np.concatenate(rows)
        self._cache.append([source.key for source in done[-len(embeddings) :]], embeddings)

    def _forwarded(self, batches: Iterator[Tensor]) -> Generator[Embeddings]:
        """Embeddings of batches, in order; on a CPU several pictures at once, each on one thread and for itself.

        The last bits of a convolution depend on how many threads share it and on how many pictures it takes: so N
        ranks give the bits of one.
        """
        if self._on_cuda:
            yield from one_behind(map(self._forward, batches))
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with closing(_ahead(self._forward, batches, self._ranks.cpus)) as ahead:
                yield from map(_on_host, ahead)
        finally:
            torch.set_num_threads(threads)

    @property
    def _on_cuda(self) -> bool:
        return self._ranks.device.type == "cuda"

    def _forward(self, pixels: Tensor) -> Tensor:
        """Embeddings on the device; CUDA may be at work on them still."""
        with torch.inference_mode():
            return self._detector.embed(pixels.to(self._ranks.device, non_blocking=True)).float()


def made_by(detector: Detector) -> list[str]:
    """All that its embeddings depend on, beside the pictures.

    The tensors are not enough: two architectures may hold the same (timm has Lite1 twice, padded in two ways), and
    weights may come with another normalisation.
    """
    normalisation = [f"{name} {getattr(detector, name).flatten().tolist()}" for name in ("mean", "std")]
    backbone = detector.backbone
    return [FINGERPRINT, architecture(backbone), digest(backbone), *normalisation, detector.embedding]


def decoded(sources: Sequence[Source], batch: int, *, pinned: bool = False) -> Generator[Tensor]:
    """Batches of (B, 512, 512, 3) uint8 pixels, decoded ahead of their use, a bounded number of them at a time.

    ``pinned`` puts them where a CUDA device can fetch them without the CPU's help.
    """
    waiting: deque[list[Future[Pixels]]] = deque()
    ahead = max(AHEAD, 2 * cores() // batch)
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(sources), batch):
            waiting.append([pool.submit(pixels_of, source) for source in sources[start : start + batch]])
            if len(waiting) > ahead:
                yield _stacked(waiting.popleft(), pinned=pinned)
        while waiting:
            yield _stacked(waiting.popleft(), pinned=pinned)


def pixels_of(source: Source) -> Pixels:
    """What the detector sees of a source; raises `ManifestError` naming it."""
    try:
        return decode(views.apply(source.view, source.path.read_bytes(), source.sha256)).pixels
    except (OSError, Rejected) as error:
        raise ManifestError(f"picture {source.path} cannot be used: {error}") from error


def one_behind(launched: Iterator[Tensor]) -> Iterator[Embeddings]:
    """Each result is waited for when the next batch is on its way: so the device need not wait for the CPU."""
    last = next(launched, None)
    for current in launched:
        if last is not None:
            yield _on_host(last)
        last = current
    if last is not None:
        yield _on_host(last)


def _on_host(embeddings: Tensor) -> Embeddings:
    return np.asarray(embeddings.cpu())


def _ahead(run: Callable[[Tensor], Tensor], batches: Iterator[Tensor], threads: int) -> Generator[Tensor]:
    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            waiting.append(pool.submit(run, batch))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _stacked(futures: list[Future[Pixels]], *, pinned: bool) -> Tensor:
    pixels = torch.empty((len(futures), SIZE, SIZE, 3), dtype=torch.uint8, pin_memory=pinned)
    np.stack([future.result() for future in futures], out=pixels.numpy())
    return pixels
