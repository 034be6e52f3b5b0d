"""Embedding against the bare decode and forward pass: what queues, cache and progress bar cost; and by OpenVINO."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tests.benchmarks import pictures
from tests.benchmarks.measured import Measured, paired
from trainer.detector.checkpoint import SHIPPED, file_sha256, load
from trainer.detector.model import Detector
from trainer.distributed.process import cores
from trainer.distributed.ranks import Ranks
from trainer.fitting.embed import CPU_BATCH, Embedder, Source
from trainer.fitting.embedding_engine import VARIABLE
from trainer.pixels.preprocess import decode

PICTURES, ROUNDS = 32, 9


def measure() -> list[Measured]:
    """CPU seconds, so that a neighbour's work is not counted."""
    detector, _ = load(SHIPPED)
    with TemporaryDirectory() as folder:
        paths = pictures.make(Path(folder) / "pictures", PICTURES)
        sources = [Source(path, file_sha256(path)) for path in paths]

        def ours(engine: str) -> Callable[[], float]:
            return lambda: _cpu_s(lambda: _embed(detector, sources, Path(folder) / "cache", engine))

        def bare() -> float:
            return _cpu_s(lambda: _bare(detector, paths))

        name = "embedding, CPU time of PyTorch's bare decode and forward pass"
        return [
            paired(name, ours("torch"), bare, ROUNDS, "≤ 1.05"),
            paired(f"{name}, by OpenVINO", ours("openvino"), bare, ROUNDS),
        ]


def _cpu_s(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _embed(detector: Detector, sources: list[Source], folder: Path, engine: str) -> None:
    """Without cached embeddings; OpenVINO's network stays: it is converted in the round that does not count."""
    os.environ[VARIABLE] = engine
    for segment in folder.glob("*/*.keys"):
        segment.unlink()
    embedder = Embedder(detector, folder, Ranks(0, 1, torch.device("cpu")))
    embedder.embed(sources, folder / "rows.npy", "benchmark")


def _bare(detector: Detector, paths: list[Path]) -> None:
    """As many batches at once as ours, each on one thread."""
    batches = [paths[start : start + CPU_BATCH] for start in range(0, len(paths), CPU_BATCH)]

    def one(batch: list[Path]) -> None:
        pixels = np.stack([decode(path.read_bytes()).pixels for path in batch])
        with torch.inference_mode():
            detector.embed(torch.from_numpy(pixels))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(one, batches))
    torch.set_num_threads(threads)
