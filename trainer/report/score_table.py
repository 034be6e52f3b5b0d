"""``scores.csv``: the score of every held-out picture, to sort, to join with other tables and to look at."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from trainer.data.manifest import Example
from trainer.files import atomic_write
from trainer.judging.metrics import Scores

_COLUMNS = ("path", "label", "engine", "source", "score", "flagged")


def write_scores(path: Path, examples: Sequence[Example], scores: Scores, threshold: float, folder: Path) -> None:
    """Write a row for each example of split "eval", in the manifest's order; ``scores`` are (n,), one for each example.

    Paths are relative to ``folder``, the manifest's; ``flagged`` is 1 or 0.
    """
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for example, score in zip(examples, scores.tolist(), strict=True):
            if example.split == "eval":
                writer.writerow(_row(example, score, threshold, folder))


def _row(example: Example, score: float, threshold: float, folder: Path) -> tuple[str | int, ...]:
    return (
        Path(os.path.relpath(example.path, folder)).as_posix(),
        "fake" if example.fake else "real",
        example.engine,
        example.columns.get("source", ""),
        f"{score:.7f}",
        int(score >= threshold),
    )
