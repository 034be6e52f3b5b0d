"""A checkpoint on a device: pixels in, scores out; its self-test, and the gate for photos outside its domain."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from trainer.detector.card import Card
from trainer.detector.checkpoint import load
from trainer.detector.model import Detector
from trainer.detector.projection import levels_of
from trainer.detector.scoring_network import COLUMNS
from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import Picture, Pixels
from worker.core.errors import OutOfDomainError, ScoringError, UsageError
from worker.inference import engines
from worker.inference.engines import Name
from worker.inference.network_cache import NetworkCache
from worker.inference.tuning import Tuning

#: Largest difference between two scores of one picture: on a GPU sums may come in another order.
_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Reading:
    """A picture's score, 0 real to 1 AI-generated, and its embedding's projection (`trainer.detector.projection`).

    ``keys``: the scores of the two detectors of a checkpoint that needs both; empty for others.
    """

    score: float
    projection: bytes
    keys: tuple[float, ...] = ()


class Scorer:
    """Scores batches with one detector; for as many threads at once as its engine takes (see `WatchedScorer`)."""

    def __init__(
        self,
        detector: Detector,
        card: Card,
        device: str = "auto",
        engine: Name = "auto",
        tuning: Tuning | None = None,
        cache: NetworkCache | None = None,
    ) -> None:
        self.card = card
        self.device = _device(device)
        #: The detector itself, also for what needs gradients, whichever engine scores.
        self.detector = detector
        self._engine = engines.start_engine(engine, detector, self.device, tuning, cache)
        self.engine = self._engine.name
        #: Batches that it takes at once.
        self.in_flight = self._engine.in_flight

    @classmethod
    def open(
        cls,
        path: Path,
        device: str = "auto",
        sha256: str | None = None,
        engine: Name = "auto",
        tuning: Tuning | None = None,
        cache: NetworkCache | None = None,
    ) -> Self:
        """Load a checkpoint.

        Raises `trainer.errors.CheckpointError` when it cannot serve, and `UsageError` or `ScoringError` as
        `start_engine` does.
        """
        detector, card = load(path, sha256)
        return cls(detector, card, device, engine, tuning, cache)

    def read(self, batch: Sequence[Pixels]) -> list[Reading]:
        """What the detector says of (512, 512, 3) uint8 pictures; independent of the rest of the batch.

        Raises `ScoringError` when a score is not a number.
        """
        outputs = self._engine.outputs(batch)
        if not bool(np.isfinite(outputs[:, 0]).all()):
            raise ScoringError(f"model {self.card.name} gave a score that is not a number, on {self.device}")
        kept = levels_of(outputs[:, 1:COLUMNS])
        keys = outputs[:, COLUMNS:].tolist()
        return [
            Reading(float(score), row.tobytes(), tuple(each))
            for score, row, each in zip(outputs[:, 0], kept, keys, strict=True)
        ]

    def score(self, batch: Sequence[Pixels]) -> list[float]:
        """The scores alone; raises as `read` does."""
        return [reading.score for reading in self.read(batch)]


def self_test(scorer: Scorer) -> None:
    """Score a generated picture twice; raises `ScoringError` when the scores differ or are not numbers."""
    picture = known_pictures()[0]
    first, second = scorer.score([picture])[0], scorer.score([picture])[0]
    if not math.isclose(first, second, abs_tol=_TOLERANCE):
        raise ScoringError(f"model {scorer.card.name} gave one picture two scores: {first:.6f} and {second:.6f}")


def check_domain(picture: Picture, card: Card, min_side: int | None) -> None:
    """Refuse a photo that the detector was not made for: its score would mean nothing, and a low one would say "real".

    Raises `OutOfDomainError` for an animation, and for a side below ``min_side`` pixels (None: the card's floor).
    """
    if picture.animated:
        raise OutOfDomainError("animated", f"more than one frame, as {picture.format}")
    floor = min_side if min_side is not None else card.smallest_side
    if min(picture.width, picture.height) < floor:
        size = f"{picture.width}x{picture.height}"
        raise OutOfDomainError("too_small", f"{size} pixels (model {card.name} is for {floor} and more)")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"device {name!r} is unknown to torch: use auto, cpu or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"device {name!r} is not supported: use auto, cpu or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device
