"""Verdicts on photos for applications: the state, the active model's score and the policy's threshold.

A photo without a score has no verdict, which does not mean that it is real.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from db.models.score_odds import OddsReader
from db.policy import signal_actions
from db.policy.effective_policy import EffectivePolicy, effective_policy
from db.schema import Image, Result


@dataclass(frozen=True, slots=True)
class PhotoVerdict:
    """A photo's state and verdict. ``flagged`` is None without one, and of an unstable photo, which waits for a person.

    1 in ``one_in`` real photos of the ``reference`` scores as high; with 95 % confidence at most 1 in
    ``one_in_at_least`` (see `db.models.score_odds`).
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
    one_in_at_least: float | None = None
    reference: str | None = None
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
    """Reads verdicts. It keeps the models' scores of real photos, which never change."""

    def __init__(self) -> None:
        self._odds = OddsReader()

    def find(self, session: Session, image_id: str) -> Outcome | None:
        """An image's outcome; None when the image is unknown."""
        return self.find_many(session, [image_id]).get(image_id)

    def find_many(self, session: Session, image_ids: Collection[str]) -> Mapping[str, Outcome]:
        """The outcomes of the images that are known, by their ids."""
        statement = select(Result, Image.policy).join(Image, Image.id == Result.c.image_id)
        rows = session.execute(statement.where(Result.c.image_id.in_(image_ids))).all()
        signals = signal_actions.acting_signals(session, [row.image_id for row in rows])
        scored = any(row.score is not None for row in rows)
        now = effective_policy(session) if scored else EffectivePolicy(-1, {}, flagging_paused=False)
        return {row.image_id: self._outcome(session, row, now, signals.get(row.image_id, [])) for row in rows}

    def _outcome(
        self, session: Session, row: Row[Any], now: EffectivePolicy, signals: list[dict[str, Any]]
    ) -> Outcome:
        verdict = PhotoVerdict(
            image_id=row.image_id,
            state=row.state,
            score=row.score,
            flagged=row.flagged,
            threshold=row.threshold,
            model=row.model,
            reason=row.reason,
            flagged_by=row.flagged_by,
            evidence=row.evidence,
            verdict=row.verdict,
            score_low=row.score_low,
            score_high=row.score_high,
            signals=signals,
            **self._rarity(session, row, now),
        )
        return Outcome(verdict, row.account_id, row.scored_at, row.case_state)

    def _rarity(self, session: Session, row: Row[Any], now: EffectivePolicy) -> dict[str, Any]:
        """How rare the score is among the real photos by which the policy's threshold was chosen."""
        odds = None
        if row.model is not None and row.score is not None:
            threshold = now.threshold(row.policy)
            odds = self._odds.find(session, row.model, threshold.reference if threshold else None, row.score)
        if odds is None:
            return {"one_in": None}
        return {"one_in": odds.one_in, "one_in_at_least": odds.one_in_at_least, "reference": odds.reference}
