"""Verdicts on photos for applications: the state, the active model's score and the policy's threshold.

A photo without a score has no verdict, which does not mean that it is real.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from db.models import score_odds
from db.models.references import card_reals
from db.policy import signal_actions
from db.schema import ModelVersion, Result
from db.stats.empirical_fpr import RealScores


@dataclass(frozen=True, slots=True)
class PhotoVerdict:
    """A photo's state and verdict. ``flagged`` is None without one, and of an unstable photo, which waits for a person.

    1 in ``one_in`` real photos scores as high.
    """

    image_id: str
    state: str
    score: float | None
    flagged: bool | None
    threshold: float | None
    one_in: float | None
    model: str | None
    reason: str | None
    #: What raised its flag ("score", "provenance", "score+provenance"), and the signal that did, in words.
    flagged_by: str | None = None
    evidence: str | None = None
    #: "flagged", "unstable" (another delivery of the photo may score on the other side of the threshold: a person is to
    #: see it) or "clear"; None without one.
    verdict: str | None = None
    #: The lowest and the highest score over other deliveries of the photo; None where nobody measured them.
    score_low: float | None = None
    score_high: float | None = None
    #: What is known besides the score, each as `{"kind", "value", "where", "trust", "action"}`.
    signals: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict with the image's account, case and time of scoring."""

    verdict: PhotoVerdict
    account_id: str | None
    scored_at: datetime | None
    case_state: str | None


class VerdictReader:
    """Reads verdicts. It caches each model's scores of real photos, which never change."""

    def __init__(self) -> None:
        self._reals: dict[str, RealScores | None] = {}

    def find(self, session: Session, image_id: str) -> Outcome | None:
        """An image's outcome; None when the image is unknown."""
        return self.find_many(session, [image_id]).get(image_id)

    def find_many(self, session: Session, image_ids: Collection[str]) -> Mapping[str, Outcome]:
        """The outcomes of the images that are known, by their ids."""
        rows = session.execute(select(Result).where(Result.c.image_id.in_(image_ids))).all()
        signals = signal_actions.acting_signals(session, [row.image_id for row in rows])
        return {row.image_id: self._outcome(session, row, signals.get(row.image_id, [])) for row in rows}

    def _outcome(self, session: Session, row: Row[Any], signals: list[dict[str, Any]]) -> Outcome:
        verdict = PhotoVerdict(
            image_id=row.image_id,
            state=row.state,
            score=row.score,
            flagged=row.flagged,
            threshold=row.threshold,
            one_in=self._one_in(session, row.model, row.score),
            model=row.model,
            reason=row.reason,
            flagged_by=row.flagged_by,
            evidence=row.evidence,
            verdict=row.verdict,
            score_low=row.score_low,
            score_high=row.score_high,
            signals=signals,
        )
        return Outcome(verdict, row.account_id, row.scored_at, row.case_state)

    def _one_in(self, session: Session, model: str | None, score: float | None) -> float | None:
        if model is None or score is None:
            return None
        if model not in self._reals:
            version = session.scalar(select(ModelVersion).where(ModelVersion.name == model))
            self._reals[model] = card_reals(version) if version is not None else None
        reals = self._reals[model]
        return score_odds.one_in_reals(reals, score) if reals is not None else None
