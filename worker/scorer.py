"""A checkpoint on a device: pixels in, scores out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from trainer.card import Card
from trainer.checkpoint import load
from trainer.model import Detector
from trainer.preprocess import Pixels
from worker.errors import ScoringError, UsageError

#: Pictures in one forward pass on a CPU: more are no faster there, and 16 need 1 GB more than 4.
CPU_BATCH = 4
_IMAGE_DIMENSIONS = 4


class Scorer:
    """Scores batches with one detector; not thread-safe, so one thread calls it (see `Batcher`)."""

    def __init__(self, detector: Detector, card: Card, device: str = "auto") -> None:
        self.card = card
        self.device = _device(device)
        self.engine = "eager-fp32"
        # Channels last: NHWC pixels need no copy, and convolutions run 1.2 times as fast on a CPU.
        self.detector = detector.eval().to(self.device)
        _channels_last(self.detector)

    @classmethod
    def open(cls, path: Path, device: str = "auto", sha256: str | None = None) -> Self:
        """Load a checkpoint; raises `trainer.errors.CheckpointError` when it cannot serve."""
        detector, card = load(path, sha256)
        return cls(detector, card, device)

    def score(self, batch: Sequence[Pixels]) -> list[float]:
        """Scores of (512, 512, 3) uint8 pictures: 0 real, 1 AI-generated; the same in whatever batch they come."""
        with torch.inference_mode():
            scores = torch.cat([self._forward(part) for part in self._parts(batch)])
        if not bool(torch.isfinite(scores).all()):
            raise ScoringError(f"model {self.card.name} gave a score that is not a number, on {self.device}")
        return [float(score) for score in scores]

    def _forward(self, batch: Sequence[Pixels]) -> Tensor:
        pixels = torch.from_numpy(np.stack(batch)).to(self.device)
        return torch.sigmoid(self.detector(pixels).float()).cpu()

    def _parts(self, batch: Sequence[Pixels]) -> list[Sequence[Pixels]]:
        size = CPU_BATCH if self.device.type == "cpu" else len(batch)
        return [batch[start : start + size] for start in range(0, len(batch), size)]


def _channels_last(module: nn.Module) -> None:
    """``module.to(memory_format=...)``, which torch's types do not know."""
    for parameter in module.parameters():
        if parameter.dim() == _IMAGE_DIMENSIONS:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)


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
