"""How much memory the fit of a million cached embeddings takes: they are read from files and need not fit into memory.

python -m tests.benchmarks.million                  # writes twice 5 GB to a temporary folder, or --folder
python -m tests.benchmarks.million --rows 50000
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch

from trainer.detector.runtime_shims import keep_memory
from trainer.fitting.cache import EmbeddingCache, embedding_key
from trainer.fitting.head import LabelledEmbeddings, fit_head
from trainer.fitting.loop import Recipe
from trainer.fitting.snapshot import Snapshot

WIDTH, SEGMENT, STEPS = 1280, 512, 20
_LOOK_S = 0.02


class Peak:
    """The most anonymous memory that the process has held: what is mapped from files can go when it must."""

    def __init__(self) -> None:
        self.mb = 0.0
        self._over = threading.Event()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look again and again for the block's time."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
            self.mb = max(self.mb, int(found[1]) / 1024 if found else 0)


@click.command()
@click.option("--rows", type=click.IntRange(64), default=1_000_000, show_default=True)
@click.option("--folder", type=click.Path(exists=True, path_type=Path), help="Where there is room for it.")
def main(rows: int, folder: Path | None) -> None:
    """Fill a cache, gather it and fit a head on it; the peak of anonymous memory as JSON on stdout."""
    keep_memory()
    peak = Peak()
    with TemporaryDirectory(dir=folder) as scratch, peak.watched():
        _fit(Path(scratch), rows)
    click.echo(json.dumps({"rows": rows, "data_mb": rows * WIDTH * 4 / 2**20, "peak_mb": round(peak.mb, 1)}))


def _fit(folder: Path, rows: int) -> None:
    cache = EmbeddingCache(folder / "cache", ["benchmark"])
    keys = [embedding_key(str(number), "") for number in range(rows)]
    random = np.random.default_rng(0)
    for start in range(0, rows, SEGMENT):
        part = keys[start : start + SEGMENT]
        cache.append(part, random.normal(size=(len(part), WIDTH)).astype(np.float32))
    embeddings = cache.gather(keys, folder / "rows.npy")
    labels = (torch.arange(rows) % 2).float()
    fit_head(
        LabelledEmbeddings(embeddings, labels), Recipe(steps=STEPS, scale=True), Snapshot(folder / "state", "benchmark")
    )


if __name__ == "__main__":
    main()
