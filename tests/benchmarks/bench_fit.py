"""The fit of a head of the paper's shape on cached embeddings."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tests.benchmarks.measured import Measured
from trainer.detector.runtime_shims import keep_memory
from trainer.fitting.head import LabelledEmbeddings, fit_head
from trainer.fitting.loop import Recipe
from trainer.fitting.snapshot import Snapshot

ROWS, WIDTH, STEPS = 20_000, 1280, 500


def measure() -> list[Measured]:
    """Steps a second, snapshots and all; and what the paper's 10,000 come to."""
    keep_memory()
    with TemporaryDirectory() as folder:
        embeddings = np.lib.format.open_memmap(
            Path(folder) / "rows.npy", mode="w+", dtype=np.float32, shape=(ROWS, WIDTH)
        )
        embeddings[:] = np.random.default_rng(0).normal(size=(ROWS, WIDTH))
        data = LabelledEmbeddings(embeddings, (torch.arange(ROWS) % 2).float())
        warm_s, whole_s = _fit_s(data, Path(folder) / "a", 1), _fit_s(data, Path(folder) / "b", STEPS + 1)
    step_s = (whole_s - warm_s) / STEPS
    return [
        Measured("fit, cached", 1 / step_s, "steps/s"),
        Measured("fit, 10,000 cached steps", 10_000 * step_s, "s", limit="< 200 s on two cores"),
    ]


def _fit_s(data: LabelledEmbeddings, path: Path, steps: int) -> float:
    start = time.perf_counter()
    fit_head(data, Recipe(steps=steps), Snapshot(path, "benchmark"))
    return time.perf_counter() - start
