"""Reads the ``log.csv`` that a fit writes beside its checkpoint."""

import csv
from pathlib import Path

from trainer.report.plots import LearningCurve


def read_log(checkpoint: Path, steps: int) -> LearningCurve | None:
    """The learning curve of a checkpoint; None without a log of so many steps beside it: it may have been moved."""
    path = checkpoint.with_name("log.csv")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        looks = [row for row in rows if row.get("validation_loss")]
        found = LearningCurve(
            tuple(float(row["loss"]) for row in rows),
            tuple(int(row["step"]) for row in looks),
            tuple(float(row["validation_loss"]) for row in looks),
            tuple(float(row["validation_auc"]) for row in looks),
        )
    except (OSError, ValueError, KeyError, csv.Error):
        return None
    return found if rows and len(rows) == steps else None
