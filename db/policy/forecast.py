"""A forecast for a threshold in operation: flags and false flags a day, and precision."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, case, exists, false, func, select
from sqlalchemy.orm import Session

from db.policy.coverage import FlaggingRule
from db.policy.threshold_choice import ThresholdChoice
from db.schema import Image, Score
from db.schema.clock import moment
from db.stats.certification import flagged_at
from db.stats.empirical_fpr import PREVALENCE, Measured, positive_predictive_value
from db.stats.intervals import CONFIDENCE, Estimate, order_statistic_fpr, wilson

#: Uploads are counted over a whole week, so that weekends and nights weigh in proportion.
WINDOW_DAYS = 7
#: The flagged share is measured on so many of the latest scores.
LATEST_SCORES = 50_000
_DAY_S = 86_400
_VERSIONS = 4
#: Cards keep the scores of their reals to seven decimals.
_CARD_PRECISION = 1e-6


@dataclass(frozen=True, slots=True)
class Traffic:
    """Uploads: photos a day, and how many of the ``scored`` latest would be flagged, and how many unstable."""

    photos_a_day: float
    scored: int
    flagged: int
    unstable: int = 0


@dataclass(frozen=True, slots=True)
class EngineRate:
    """The true positive rate for one engine's pictures, at the card's threshold.

    ``bound`` says what it is at another threshold: "at least" for a lower one, "at most" for a higher one, else "as".
    Cards that keep scores of each engine's fakes say the rate at any threshold.
    """

    engine: str
    tpr: Estimate
    bound: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """What each day will bring at a threshold; ``precision`` by engine is empty when no FPR or prevalence is known.

    ``most_wrong_a_day``: with the confidence of the threshold's bound, wrong flags are at most so many on average.
    """

    photos_a_day: float
    flags_a_day: Estimate | None
    wrong_flags_a_day: Estimate | None
    precision: Mapping[str, tuple[str, Estimate]]
    prevalence: float
    most_wrong_a_day: float | None = None
    #: Photos that people see though they are not flagged; None where no policy notes unstable photos.
    unstable_a_day: Estimate | None = None


def forecast_flags(
    session: Session,
    rule: FlaggingRule,
    choice: ThresholdChoice,
    card: Mapping[str, Any],
    prevalence: float = PREVALENCE,
) -> Forecast:
    """Flags a day from stored scores, false flags a day from the reference set, precision from both and the card.

    ``prevalence`` is the share of photos that are AI-generated: by default what was measured on a large platform.
    """
    measured, bound = choice.measured, choice.bound.bound
    seen = traffic(session, rule)
    flags = wilson(seen.flagged, seen.scored).times(seen.photos_a_day) if seen.scored else None
    reals_a_day = seen.photos_a_day * (1 - prevalence)
    wrong = measured.fpr.times(reals_a_day) if measured else None
    right: dict[str, tuple[str, Estimate]] = {}
    if measured is not None:
        right = {
            found.engine: (found.bound, precision(found.tpr, measured, prevalence))
            for found in engine_rates(card, rule)
        }
    most = bound * reals_a_day if bound is not None else None
    noted = bool(rule.noting and seen.scored)
    unstable = wilson(seen.unstable, seen.scored).times(seen.photos_a_day) if noted else None
    return Forecast(seen.photos_a_day, flags, wrong, right, prevalence, most, unstable)


def precision(tpr: Estimate, measured: Measured, prevalence: float) -> Estimate:
    """The share of flags that are AI-generated when ``prevalence`` of the photos are, by Bayes' theorem.

    precision = π·TPR / (π·TPR + (1 - π)·FPR). It rises with TPR and falls with FPR, so its limits are at opposite ends
    of theirs. Both intervals hold together with 95 % when each holds with 97.5 % (Bonferroni's inequality): ``tpr``
    must be given at 97.5 %, and the FPR's interval is computed so.
    """
    flagged = round(measured.fpr.value * measured.reals)
    fpr = order_statistic_fpr(flagged, measured.reals, both())
    return Estimate(
        positive_predictive_value(tpr.value, fpr.value, prevalence),
        positive_predictive_value(tpr.low, fpr.high, prevalence),
        positive_predictive_value(tpr.high, fpr.low, prevalence),
    )


def both() -> float:
    """The confidence of each of two intervals so that both hold together with `CONFIDENCE` (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / 2


def engine_rates(card: Mapping[str, Any], rule: FlaggingRule) -> list[EngineRate]:
    """A card's true positive rate for each engine, and what it says about the rule's threshold."""
    quality = card.get("quality") or {}
    bound = _bound(rule.value, float(quality.get("threshold", rule.value)))
    return [
        _engine_rate(engine, row, _fake_scores(card, engine), rule.value, bound)
        for engine, row in sorted(quality.get("engines", {}).items())
        if row["fakes"]
    ]


def card_tpr(card: Mapping[str, Any], threshold: float) -> float | None:
    """The TPR of all engines of a card together at any threshold; None where the card keeps no scores of fakes."""
    engines = {name: row for name, row in ((card.get("quality") or {}).get("engines") or {}).items() if row["fakes"]}
    scores = {name: _fake_scores(card, name) for name in engines}
    if not engines or not all(scores.values()):
        return None
    found = math.fsum(row["fakes"] * _share_at(scores[name], threshold) for name, row in engines.items())
    return found / math.fsum(row["fakes"] for row in engines.values())


def _fake_scores(card: Mapping[str, Any], engine: str) -> Sequence[float]:
    """Some ascending scores of an engine's fakes: of the fit, or of an evaluation after it; empty where unknown."""
    fitted = card["quality"]["engines"][engine].get("scores")
    return fitted or ((card.get("findings") or {}).get("fake_scores") or {}).get(engine) or ()


def _engine_rate(
    engine: str, row: Mapping[str, Any], scores: Sequence[float], threshold: float, bound: str
) -> EngineRate:
    tpr = row["tpr"] if bound == "as" or not scores else _share_at(scores, threshold)
    known = "as" if scores else bound
    return EngineRate(engine, wilson(round(tpr * row["fakes"]), row["fakes"], both()), known)


def _share_at(ascending: Sequence[float], threshold: float) -> float:
    return flagged_at(ascending, threshold) / len(ascending)


def traffic(session: Session, rule: FlaggingRule) -> Traffic:
    """Photos a day over the last week (or since the first photo), and how many of the latest scores flag."""
    # Other versions' scores lie between; without a lower bound, a version with few scores would mean reading all.
    since = select(func.max(Score.id) - _VERSIONS * LATEST_SCORES).scalar_subquery()
    latest = (
        select(Score.image_id, Score.score, Score.low, Score.high)
        .where(Score.version_id == rule.version_id, Score.id > since)
        .order_by(Score.id.desc())
        .limit(LATEST_SCORES)
        .subquery()
    )
    policy = select(Image.policy).where(Image.id == latest.c.image_id).scalar_subquery()
    crosses = and_(latest.c.low < rule.value, latest.c.high >= rule.value)
    unstable = and_(crosses, policy.in_(rule.noting)) if rule.noting else false()
    flagged = case((unstable, 0), (latest.c.score >= rule.value, 1), else_=0)
    shares = select(func.count(), func.sum(flagged), func.sum(case((unstable, 1), else_=0)))
    found = session.execute(shares.select_from(latest).where(rule.covers(policy))).one()
    return Traffic(_photos_a_day(session, rule), found[0], found[1] or 0, found[2] or 0)


def _photos_a_day(session: Session, rule: FlaggingRule) -> float:
    since = moment(-WINDOW_DAYS * _DAY_S)
    statement = select(func.count(), func.min(Image.created_at), select(moment()).scalar_subquery())
    covered = rule.covers(Image.policy)
    count, first, now = session.execute(statement.where(covered, Image.created_at >= since)).one()
    if not count:
        return 0.0
    older = session.scalar(select(exists(select(Image.id).where(covered, Image.created_at < since))))
    days = WINDOW_DAYS if older else max(1.0, (now - first).total_seconds() / _DAY_S)
    return float(count / days)


def _bound(value: float, of_card: float) -> str:
    if math.isclose(value, of_card, abs_tol=_CARD_PRECISION):
        return "as"
    return "at least" if value < of_card else "at most"
