"""Computes a flag's score again, from the photo as it is now and the version that flagged it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from db.review.cases import FlagLine
from trainer.errors import TrainerError
from trainer.pixels.preprocess import decode
from worker.core.errors import FetchError, WorkerError
from worker.inference.scorer import Scorer

#: Of two computations on different devices or in different batches.
TOLERANCE = 1e-3

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it: "match", "mismatch", "changed" (another file is there now), or "gone" (none can be had).

    "no_model": the version's file is missing, is another, or was made for other pixels than this software makes.
    """

    flag: FlagLine
    outcome: str
    score: float | None
    detail: str


class Replay:
    """Loads each version once."""

    def __init__(self, fetch: Fetch, models_dir: Path, device: str) -> None:
        self._fetch = fetch
        self._models_dir = models_dir
        self._device = device
        self._scorers: dict[str, Scorer] = {}

    def replay(self, flag: FlagLine, sha256: str) -> Replayed:
        """One flagged photo by the version with this SHA-256."""
        try:
            scorer = self._scorer(sha256)
        except (TrainerError, WorkerError) as error:
            return Replayed(flag, "no_model", None, str(error))
        try:
            data = self._bytes(flag)
        except (TrainerError, WorkerError) as error:
            return Replayed(flag, "gone", None, str(error))
        if hashlib.sha256(data).hexdigest() != flag.image.sha256:
            return Replayed(flag, "changed", None, f"{len(data)} bytes, not the file that was scored")
        score = scorer.score([decode(data).pixels])[0]
        off = abs(score - flag.score.score)
        return Replayed(flag, "match" if off <= TOLERANCE else "mismatch", score, f"off by {off:.2g}")

    def _bytes(self, flag: FlagLine) -> bytes:
        if flag.image.url is None:
            raise FetchError("erased", "its account was erased")
        return self._fetch(flag.image.url)

    def _scorer(self, sha256: str) -> Scorer:
        if sha256 not in self._scorers:
            path = self._models_dir / f"{sha256}.safetensors"
            self._scorers[sha256] = Scorer.open(path, self._device, sha256, "eager")  # what engines are held to
        return self._scorers[sha256]
