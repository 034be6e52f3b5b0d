"""What each of the two detectors says of a photo that a version flags only when both do.

Kept as signals of flagged photos, each with how rare such a score is among the real photos of the version's card. The
bounds are of one detector each: the two are far from independent, so nobody may multiply them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from db.models.score_odds import ScoreOdds, odds_among
from db.schema import ModelVersion, Signal
from db.stats.empirical_fpr import RealScores

#: The kind of signal: its value is the score, its place the detector's name.
DETECTOR = "detector"


def key_odds(card: Mapping[str, Any], detector: str, score: float) -> ScoreOdds | None:
    """How rare a detector's score is; None where the card of the two has no scores of that detector."""
    reals = _key_reals(card).get(detector)
    return odds_among(reals, score) if reals is not None else None


def record_key_scores(session: Session, scores: Mapping[str, Sequence[float]], version_id: int) -> None:
    """Record both detectors' scores of images, ``{image: (first, second)}``, that the version flags for the first time.

    Call it in the transaction that flags them.
    """
    if not scores:
        return
    version = session.get_one(ModelVersion, version_id)
    names = [key["name"] for key in (version.card.get("fusion") or {}).get("keys", ())]
    reals = _key_reals(version.card)
    rows = [
        _row(image_id, name, score, version_id, reals.get(name))
        for image_id, each in sorted(scores.items())
        for name, score in zip(names, each, strict=False)
    ]
    if rows:
        session.execute(insert(Signal), rows)


def _row(image_id: str, name: str, score: float, version_id: int, reals: RealScores | None) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "kind": DETECTOR,
        "value": repr(score),
        "place": name[:128],
        "version_id": version_id,
        "tail_probability": odds_among(reals, score).tail_probability if reals is not None else None,
    }


def _key_reals(card: Mapping[str, Any]) -> dict[str, RealScores]:
    """``{detector: its scores of the reference reals}`` of a card."""
    fusion, reference = card.get("fusion") or {}, card.get("reference") or {}
    scores = fusion.get("references") or ()
    names = [key["name"] for key in fusion.get("keys", ())]
    return {name: RealScores(reference.get("name", ""), each) for name, each in zip(names, scores, strict=False)}
