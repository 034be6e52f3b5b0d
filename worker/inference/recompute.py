"""Recomputes a flag's score, from the photo as it is now and the model version that flagged it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from db.review.cases import FlaggedPhoto
from trainer.detector.card import Card
from trainer.errors import TrainerError
from trainer.pixels.preprocess import decode
from worker.core.errors import WorkerError
from worker.inference.engines import reference_engine
from worker.inference.scorer import Scorer

#: Largest difference between two computations on different devices or in different batches.
TOLERANCE = 1e-3

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class RecomputedScore:
    """A flag's score, recomputed; ``score`` is None unless the outcome is "match" or "mismatch".

    Other outcomes: "changed" (the URL gives another file now), "gone" (the photo cannot be fetched), "erased" (with its
    account: neither its URL nor its digest is kept), "no_model" (the version's file is missing, is a different one, or
    expects other preprocessing than this software does).
    """

    flag: FlaggedPhoto
    outcome: str
    score: float | None
    detail: str


class Recomputer:
    """Recomputes scores; loads each model version once."""

    def __init__(self, fetch: Fetch, models_dir: Path, device: str) -> None:
        self._fetch = fetch
        self._models_dir = models_dir
        self._device = device
        self._scorers: dict[str, Scorer] = {}

    def recompute(self, flag: FlaggedPhoto, sha256: str) -> RecomputedScore:
        """Score one flagged photo by the version with this SHA-256; what fails is an outcome, not an error."""
        if flag.image.url is None:
            return RecomputedScore(flag, "erased", None, "its account was erased, and its digest with it")
        try:
            scorer = self._scorer(sha256)
        except (TrainerError, WorkerError) as error:
            return RecomputedScore(flag, "no_model", None, str(error))
        try:
            data = self._fetch(flag.image.url)
        except (TrainerError, WorkerError) as error:
            return RecomputedScore(flag, "gone", None, str(error))
        if hashlib.sha256(data).hexdigest() != flag.image.sha256:
            return RecomputedScore(flag, "changed", None, f"{len(data)} bytes, not the file that was scored")
        score = scorer.score([decode(data).pixels])[0]
        off = abs(score - flag.score.score)
        return RecomputedScore(flag, "match" if off <= TOLERANCE else "mismatch", score, f"off by {off:.2g}")

    def _scorer(self, sha256: str) -> Scorer:
        if sha256 not in self._scorers:
            path = self._models_dir / f"{sha256}.safetensors"
            engine = reference_engine(Card.read(path))
            self._scorers[sha256] = Scorer.open(path, self._device, sha256, engine)
        return self._scorers[sha256]
