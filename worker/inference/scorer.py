"""A checkpoint on a device: pixels in, scores out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from trainer.detector.card import Card
from trainer.detector.checkpoint import load
from trainer.detector.model import Detector
from trainer.pixels.preprocess import Pixels
from worker.inference import engines
from worker.inference.engines import Name
from worker.core.errors import ScoringError, UsageError


class Scorer:
    """Scores batches with one detector; not thread-safe, so one thread calls it (see `Batcher`)."""

    def __init__(self, detector: Detector, card: Card, device: str = "auto", engine: Name = "auto") -> None:
        self.card = card
        self.device = _device(device)
        #: Also for what needs gradients, whichever engine scores.
        self.detector = detector
        self._engine = engines.start(engine, detector, self.device)
        self.engine = self._engine.name

    @classmethod
    def open(cls, path: Path, device: str = "auto", sha256: str | None = None, engine: Name = "auto") -> Self:
        """Load a checkpoint; raises `trainer.errors.CheckpointError` when it cannot serve."""
        detector, card = load(path, sha256)
        return cls(detector, card, device, engine)

    def score(self, batch: Sequence[Pixels]) -> list[float]:
        """Scores of (512, 512, 3) uint8 pictures: 0 real, 1 AI-generated; the same in whatever batch they come."""
        scores = self._engine.scores(batch)
        if not bool(np.isfinite(scores).all()):
            raise ScoringError(f"model {self.card.name} gave a score that is not a number, on {self.device}")
        return [float(score) for score in scores]


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is not one that torch knows: auto, cpu or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"UNMASK_DEVICE={name}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device
