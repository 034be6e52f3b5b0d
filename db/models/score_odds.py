"""What a score means to people: how few real photos look like this, by the scores of a named set of real photos."""

from bisect import bisect_left
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models.references import named_reals
from db.schema import ModelVersion
from db.stats.empirical_fpr import RealScores
from db.stats.intervals import upper_limit

#: Numbers from here on are said without decimals.
_WHOLE = 10


@dataclass(frozen=True, slots=True)
class ScoreOdds:
    """How rare a score is: ``found`` of the ``reals`` photos of a reference set score at least as high."""

    reference: str
    reals: int
    found: int

    @property
    def one_in(self) -> float:
        """N, where 1 in N of these photos scores as high; where none does, their number."""
        return self.reals / max(1, self.found)

    @property
    def tail_probability(self) -> float:
        """With 95 % confidence at most this share of such photos scores as high (`upper_limit`, one-sided)."""
        return upper_limit(self.found, self.reals)

    @property
    def one_in_at_least(self) -> float:
        """The same as N: at most 1 in N, with 95 % confidence."""
        return 1 / self.tail_probability

    @property
    def words(self) -> str:
        """How rare it is, on which photos, and what is sure of it, in one line."""
        if self.found == self.reals:
            return f"every real photo looks like this (all {self.reals:,} of {self.reference!r})"
        sure = number_words(self.one_in_at_least)
        if self.found == 0:
            return (
                f"fewer than 1 in {sure} real photos looks like this (95 % sure; none of the {self.reals:,} of "
                f"{self.reference!r})"
            )
        return (
            f"1 in {number_words(self.one_in)} real photos looks like this ({self.found:,} of the {self.reals:,} of "
            f"{self.reference!r}; 95 % sure: at most 1 in {sure})"
        )


def odds_among(reals: RealScores, score: float) -> ScoreOdds:
    """How rare a score is among these photos."""
    return ScoreOdds(reals.name, len(reals.scores), len(reals.scores) - bisect_left(reals.scores, score))


def number_words(one_in: float) -> str:
    """N of "1 in N" as people read it, rounded down."""
    return f"{int(one_in):,}" if one_in >= _WHOLE else f"{int(one_in * 10) / 10:g}"


class OddsReader:
    """Reads how rare scores are among real photos. It keeps the sets, which never change."""

    def __init__(self) -> None:
        self._reals: dict[tuple[str, str | None], RealScores | None] = {}

    def reals(self, session: Session, model: str, reference: str | None) -> RealScores | None:
        """A model version's scores of a reference set, or of its card's where there is none of that name."""
        asked = (model, reference)
        if asked not in self._reals:
            version = session.scalar(select(ModelVersion).where(ModelVersion.name == model))
            self._reals[asked] = named_reals(session, version, reference) if version is not None else None
        return self._reals[asked]

    def find(self, session: Session, model: str, reference: str | None, score: float) -> ScoreOdds | None:
        """How rare a score is; None where nobody scored real photos."""
        reals = self.reals(session, model, reference)
        return odds_among(reals, score) if reals is not None else None
