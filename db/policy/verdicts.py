"""Verdicts on photos for applications: the state, the active model's score and the policy's threshold.

A photo without a score has no verdict, which does not mean that it is real.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from db.models.score_odds import OddsReader, ScoreOdds
from db.policy import signal_actions
from db.policy.effective_policy import reference_in_effect
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
        rarity = self._rarities(session, rows)
        return {row.image_id: _outcome(row, rarity.get(row.image_id), signals.get(row.image_id, [])) for row in rows}

    def _rarities(self, session: Session, rows: Sequence[Row[Any]]) -> dict[str, ScoreOdds | None]:
        """How rare each score is among the real photos by which the policy's threshold was chosen."""
        scored = [row for row in rows if row.model is not None and row.score is not None]
        if not scored:
            return {}
        reference = reference_in_effect(session)
        return {row.image_id: self._odds.find(session, row.model, reference(row.policy), row.score) for row in scored}


def _outcome(row: Row[Any], odds: ScoreOdds | None, signals: list[dict[str, Any]]) -> Outcome:
    verdict = PhotoVerdict(
        image_id=row.image_id,
        state=row.state,
        score=row.score,
        flagged=row.flagged,
        threshold=row.threshold,
        one_in=odds.one_in if odds is not None else None,
        model=row.model,
        reason=row.reason,
        flagged_by=row.flagged_by,
        evidence=row.evidence,
        verdict=row.verdict,
        score_low=row.score_low,
        score_high=row.score_high,
        one_in_at_least=odds.one_in_at_least if odds is not None else None,
        reference=odds.reference if odds is not None else None,
        signals=signals,
    )
    return Outcome(verdict, row.account_id, row.scored_at, row.case_state)
