"""Pictures to embeddings: the backbone is frozen, so each picture and view passes through it once, for all runs.

Each rank embeds its share of what the cache lacks. Decoding runs ahead, so that the accelerator never waits for it.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.manifest import Example
from trainer.detector.embedding import INTERPOLATION
from trainer.detector.model import Detector
from trainer.detector.weights import architecture_name, weights_sha256
from trainer.distributed.process import Stopped, cores
from trainer.distributed.ranks import Ranks
from trainer.errors import ManifestError, Rejected, TrainerError
from trainer.fitting import cache
from trainer.fitting.cache import EmbeddingCache, Embeddings
from trainer.fitting.embedding_engine import EmbeddingEngine, TorchEngine, is_openvino_chosen, openvino_engine
from trainer.pixels import views
from trainer.pixels.preprocess import FINGERPRINT, SIZE, Pixels, decode
from trainer.progress import progress_bar

log = logging.getLogger(__name__)

#: How many decoded batches may wait; more where that would leave cores idle.
AHEAD = 4
#: Pictures in one forward pass. On a CPU four take a gigabyte more than one and are no faster.
CPU_BATCH = 1
CUDA_BATCH = 128
#: Embeddings in one segment of the cache: the most that a killed process has to repeat.
SEGMENT = 512
#: The embeddings of no pictures.
NO_EMBEDDINGS: Embeddings = np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Source:
    """One view of one picture, which is identified by its SHA-256."""

    path: Path
    sha256: str
    view: str = views.ORIGINAL

    @property
    def key(self) -> bytes:
        """The key of its embedding in the cache."""
        return cache.embedding_key(self.sha256, self.view)


def sources_of(examples: Sequence[Example], view: str = views.ORIGINAL) -> list[Source]:
    """One view of the pictures of examples, in order."""
    return [Source(example.path, example.sha256, view) for example in examples]


class Embedder:
    """Embeds sources with one detector's backbone, through the cache below ``root``.

    `is_openvino_chosen` says with which engine; where OpenVINO cannot give a network's embeddings, PyTorch does.
    """

    def __init__(
        self, detector: Detector, root: Path, ranks: Ranks, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        self._stopping = stopping
        self._detector = detector.to(ranks.device)
        self._ranks = ranks
        self._batch = CPU_BATCH if ranks.device.type == "cpu" else CUDA_BATCH
        self._root = root
        self._parts = cache_parts(detector)
        self._engine: EmbeddingEngine = TorchEngine(detector, ranks.device)
        self._to_convert = is_openvino_chosen(ranks.device)
        self._cache = EmbeddingCache(root, [*self._parts, "openvino"] if self._to_convert else self._parts)
        #: How many pictures this rank has embedded, and how many seconds that took.
        self.embedded, self.seconds = 0, 0.0

    def embed(self, sources: Sequence[Source], path: Path, what: str) -> Embeddings:
        """(N, D) float32 embeddings in the order of ``sources``, memory-mapped at ``path``, a file of this rank's own.

        Raises as `fill` does.
        """
        self.fill(sources, what)
        return self.gather(sources, path)

    def fill(self, sources: Sequence[Source], what: str) -> None:
        """Embed what the cache lacks, each rank its share; afterwards the cache has all of them.

        Raises `ManifestError` naming a picture that cannot be used, `Stopped` when asked to stop, and a `TrainerError`
        naming the cache when it lacks what others embedded.
        """
        keys = [source.key for source in sources]
        if self._to_convert and self._cache.missing(keys):
            self._to_convert = False
            self._start_openvino()
        missing = self._cache.missing(keys)
        self._ranks.meet()  # no rank adds to the cache before all have seen what it lacks
        mine = [sources[missing[place]] for place in self._ranks.share(len(missing))]
        began = time.perf_counter()
        self._embed_missing(mine, what)
        self.embedded, self.seconds = self.embedded + len(mine), self.seconds + time.perf_counter() - began
        self._ranks.meet()
        if lacking := self._cache.missing(keys):
            raise TrainerError(
                f"ranks do not share --cache {self._root}, or one of them restarted: it lacks "
                f"{len(lacking)} embeddings of other ranks"
            )

    def gather(self, sources: Sequence[Source], path: Path) -> Embeddings:
        """(N, D) embeddings of ``sources`` after `fill`, memory-mapped at ``path``."""
        return self._cache.gather([source.key for source in sources], path) if sources else NO_EMBEDDINGS

    def _start_openvino(self) -> None:
        """Where it cannot give these embeddings, PyTorch does, with a cache of its own."""
        try:
            self._engine = openvino_engine(self._detector, self._cache.folder, self._ranks.cpus)
        except TrainerError as error:
            log.warning("PyTorch embeds the pictures: %s", error)
            self._cache = EmbeddingCache(self._root, self._parts)

    def _embed_missing(self, sources: Sequence[Source], what: str) -> None:
        rows: list[Embeddings] = []
        done = 0
        with (
            progress_bar(len(sources), f"embed {what}", "image", shown=self._ranks.first) as bar,
            closing(decode_ahead(sources, self._batch, pinned=self._on_cuda)) as batches,
            closing(self._forwarded(batches)) as forwarded,  # otherwise threads would go on when this ends early
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
        """Put the latest embeddings into the cache: those of the last of the sources that are done."""
        embeddings = np.concatenate(rows)
        self._cache.append([source.key for source in done[-len(embeddings) :]], embeddings)

    def _forwarded(self, batches: Iterator[Tensor]) -> Generator[Embeddings]:
        """(B, D) embeddings of batches, in order; on a CPU several pictures at once, each on a thread of its own.

        The last bits of a convolution depend on how many threads share it and on how many pictures it takes: this way
        N ranks give the bits of one.
        """
        if self._on_cuda:
            yield from copy_one_behind(map(self._engine.embed, batches))
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with closing(_ahead(self._engine.embed, batches, self._ranks.cpus)) as ahead:
                yield from map(_on_host, ahead)
        finally:
            torch.set_num_threads(threads)

    @property
    def _on_cuda(self) -> bool:
        return self._ranks.device.type == "cuda"


def cache_parts(detector: Detector) -> list[str]:
    """What a detector's embeddings depend on, besides the pictures: the ``parts`` of their `EmbeddingCache`.

    The tensors alone are not enough: two architectures may hold the same (timm has Lite1 twice, padded in two ways),
    and weights may come with another normalisation.
    """
    normalisation = [f"{name} {getattr(detector, name).flatten().tolist()}" for name in ("mean", "std")]
    backbone = detector.backbone
    scaled = [f"{INTERPOLATION} {detector.input_size}"] if detector.input_size != SIZE else []
    made = [FINGERPRINT, architecture_name(backbone), weights_sha256(backbone), *normalisation, detector.embedding]
    return made + scaled


def decode_ahead(sources: Sequence[Source], batch: int, *, pinned: bool = False) -> Generator[Tensor]:
    """Batches of (B, 512, 512, 3) uint8 pixels, a bounded number of them decoded ahead of their use.

    ``pinned`` puts them into memory that a CUDA device can copy without the CPU.
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
    """(512, 512, 3) uint8 pixels of a source; raises `ManifestError` naming a picture that cannot be used."""
    try:
        return decode(views.apply_view(source.view, source.path.read_bytes(), source.sha256)).pixels
    except (OSError, Rejected) as error:
        raise ManifestError(f"picture {source.path} cannot be used: {error}") from error


def copy_one_behind(launched: Iterator[Tensor]) -> Iterator[Embeddings]:
    """Copy each result to the host after launching the next batch, so that the device need not wait for the CPU."""
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
