"""Pictures to embeddings: the backbone is frozen, so each picture passes through it once."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.errors import ManifestError, Rejected
from trainer.model import Detector
from trainer.preprocess import Pixels, decode

#: Threads that decode, and batches that may wait decoded, so that the accelerator never waits for a JPEG.
DECODERS = 4
AHEAD = 4


def embed(
    detector: Detector,
    paths: Sequence[Path],
    batch: int,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """(N, D) float32 embeddings on the CPU, in the order of ``paths``; ``progress`` hears how many more are done.

    Raises `ManifestError` naming the first picture that cannot be used.
    """
    device = detector.mean.device
    embeddings = []
    with torch.inference_mode():
        for pixels in _decoded(paths, batch):
            embeddings.append(detector.embed(torch.from_numpy(pixels).to(device)).float().cpu())
            if progress is not None:
                progress(len(pixels))
    return torch.cat(embeddings)


def _decoded(paths: Sequence[Path], batch: int) -> Iterator[Pixels]:
    """Batches of (B, 512, 512, 3) pixels, decoded ahead of their use, a bounded number of them at a time."""
    waiting: deque[list[Future[Pixels]]] = deque()
    with ThreadPoolExecutor(DECODERS) as pool:
        for start in range(0, len(paths), batch):
            waiting.append([pool.submit(_pixels, path) for path in paths[start : start + batch]])
            if len(waiting) > AHEAD:
                yield _stacked(waiting.popleft())
        while waiting:
            yield _stacked(waiting.popleft())


def _stacked(futures: list[Future[Pixels]]) -> Pixels:
    return np.stack([future.result() for future in futures])


def _pixels(path: Path) -> Pixels:
    try:
        return decode(path.read_bytes()).pixels
    except (OSError, Rejected) as error:
        raise ManifestError(f"picture {path} cannot be used: {error}") from error
