"""What a detector says of one photo, and how rare that is among real photos, for ``unmask inspect``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from db.commands.database import open_database
from db.models import versions
from db.models.key_scores import key_odds
from db.models.references import named_reals
from db.models.score_odds import ScoreOdds, odds_among
from db.policy import policies
from db.policy.effective_policy import reference_in_effect
from db.stats.empirical_fpr import RealScores
from trainer.detector.card import Card
from trainer.pixels.preprocess import decode
from worker.core.settings import ModelSettings
from worker.inference.engines import reference_engine
from worker.inference.scorer import Scorer, check_domain


@dataclass(frozen=True, slots=True)
class PhotoScorer:
    """A detector, and the real photos among which the rarity of its scores is counted; None where there are none."""

    scorer: Scorer
    reals: RealScores | None

    @classmethod
    def of_file(cls, path: Path) -> Self:
        """A checkpoint and the reals of its card; raises `CheckpointError` when it cannot serve."""
        card = Card.read(path)
        found = card.reference
        reals = RealScores(found.name, found.scores) if found is not None else None
        return cls(Scorer.open(path, engine=reference_engine(card)), reals)

    @classmethod
    def of_policy(cls, policy: str) -> Self:
        """The active version, and the reference by which a policy's threshold was chosen.

        Raises `NotFoundError` for an unknown policy or without an active version, and `CheckpointError` as above.
        """
        with open_database().reading() as session:
            version = versions.active(session)
            reference = reference_in_effect(session)(policies.require_policy(session, policy))
            reals = named_reals(session, version, reference)
            sha256 = version.sha256
        path = ModelSettings.load().models_dir / f"{sha256}.safetensors"
        return cls(Scorer.open(path, sha256=sha256, engine=reference_engine(Card.read(path))), reals)

    def rows(self, data: bytes) -> list[dict[str, Any]]:
        """The photo's score, and the score of each detector where it takes two, with how rare each is.

        Raises `Rejected` or `OutOfDomainError` for what cannot be scored.
        """
        card = self.scorer.card
        picture = decode(data)
        check_domain(picture, card, ModelSettings.load().min_side)
        (reading,) = self.scorer.read([picture.pixels])
        odds = odds_among(self.reals, reading.score) if self.reals is not None else None
        names = [key.name for key in card.fusion.keys] if card.fusion is not None else []
        told, plain = [(card.name, reading.score, odds)], card.model_dump(mode="json")
        for name, score in zip(names, reading.keys, strict=False):
            told.append((name, score, key_odds(plain, name, score)))
        return [_row(*each) for each in told]


def _row(name: str, score: float, odds: ScoreOdds | None) -> dict[str, Any]:
    return {
        "detector": name,
        "score": score,
        "one_in": odds.one_in if odds is not None else None,
        "one_in_at_least": odds.one_in_at_least if odds is not None else None,
        "reference": odds.reference if odds is not None else None,
        "means": odds.words if odds is not None else None,
    }
