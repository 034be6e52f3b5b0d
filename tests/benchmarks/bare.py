"""The work itself, and nothing else: a process that decodes in a thread, beside the forward pass, on command.

    python -m tests.benchmarks.bare CHECKPOINT ENGINE

Reads lines: JSON with the ``paths`` to score, and how many make a ``batch``. Answers each with ``seconds`` and
``cpu_s``. The decoder, the network and the engine are a worker's own.
"""

import json
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from trainer.pixels.preprocess import Pixels, decode
from worker.inference.scorer import Scorer


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("engine")
def main(checkpoint: Path, engine: Any) -> None:
    """Answer until stdin ends."""
    scorer = Scorer.open(checkpoint, "cpu", engine=engine)
    for line in sys.stdin:
        start, cpu_s = time.perf_counter(), time.process_time()
        _work(scorer, **json.loads(line))
        click.echo(json.dumps({"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu_s}))


def _work(scorer: Scorer, paths: Sequence[str], batch: int) -> None:
    pictures = _decoded(paths, ahead=2 * batch)
    while found := list(islice(pictures, batch)):
        scorer.score(found)


def _decoded(paths: Sequence[str], ahead: int) -> Iterator[Pixels]:
    """Pictures from a thread that is at most so many ahead."""
    done: queue.Queue[Pixels | None] = queue.Queue(ahead)

    def fill() -> None:
        for path in paths:
            done.put(decode(Path(path).read_bytes()).pixels)
        done.put(None)

    threading.Thread(target=fill, daemon=True).start()
    while (pixels := done.get()) is not None:
        yield pixels


if __name__ == "__main__":
    main()
