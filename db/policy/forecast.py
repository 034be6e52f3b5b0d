"""What a threshold will mean in operation: flags and wrong flags a day, and how many flags are right."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, exists, func, select
from sqlalchemy.orm import Session

from db.schema.clock import moment
from db.stats.intervals import CONFIDENCE, Estimate, order_statistic_fpr, wilson
from db.stats.reals import Measured
from db.policy.rules import Rule
from db.schema import Image, Score

#: Uploads are counted over so many days, so that weekends and nights weigh as they do.
WINDOW_DAYS = 7
#: The share that is flagged is that of so many of the latest scores.
LATEST_SCORES = 50_000
_DAY_S = 86_400
_VERSIONS = 4
#: Cards keep the scores of their reals to seven decimals.
_CARD_PRECISION = 1e-6


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came in: photos a day, and how many of the ``scored`` latest would be flagged."""

    photos_a_day: float
    scored: int
    flagged: int


@dataclass(frozen=True, slots=True)
class Found:
    """The share of one engine's pictures that is found, at the card's threshold.

    ``bound``: what it says of another threshold; "at least" for a lower one, "at most" for a higher one, else "as".
    """

    engine: str
    tpr: Estimate
    bound: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """Days to come at a threshold; ``precision`` by engine, None where no FPR or prevalence is known."""

    photos_a_day: float
    flags_a_day: Estimate | None
    wrong_flags_a_day: Estimate | None
    precision: Mapping[str, tuple[str, Estimate]]


def forecast(
    session: Session, rule: Rule, measured: Measured | None, prevalence: float | None, card: Mapping[str, Any]
) -> Forecast:
    """Flags a day from what was scored, wrong flags a day from the reference reals, precision from both and the card.

    Without a prevalence all photos count as real, so wrong flags are an upper limit.
    """
    seen = traffic(session, rule)
    flags = wilson(seen.flagged, seen.scored).times(seen.photos_a_day) if seen.scored else None
    wrong = measured.fpr.times(seen.photos_a_day * (1 - (prevalence or 0))) if measured else None
    right: dict[str, tuple[str, Estimate]] = {}
    if measured is not None and prevalence is not None:
        right = {found.engine: (found.bound, precision(found.tpr, measured, prevalence)) for found in rates(card, rule)}
    return Forecast(seen.photos_a_day, flags, wrong, right)


def precision(tpr: Estimate, measured: Measured, prevalence: float) -> Estimate:
    """The share of flags that are AI-generated, when ``prevalence`` of the photos are: Bayes' theorem.

    precision = π·TPR / (π·TPR + (1 - π)·FPR). It rises with TPR and falls with FPR, so its limits are at opposite ends
    of theirs; both hold together with 95 % when each holds with 97.5 % (Bonferroni's inequality), which is how ``tpr``
    must come, and the FPR is taken.
    """
    flagged = round(measured.fpr.value * measured.reals)
    fpr = order_statistic_fpr(flagged, measured.reals, both())
    return Estimate(
        _bayes(tpr.value, fpr.value, prevalence),
        _bayes(tpr.low, fpr.high, prevalence),
        _bayes(tpr.high, fpr.low, prevalence),
    )


def both() -> float:
    """The confidence of each of two intervals that hold together with `CONFIDENCE`."""
    return 1 - (1 - CONFIDENCE) / 2


def rates(card: Mapping[str, Any], rule: Rule) -> list[Found]:
    """What a card says of each engine, and what that says of the rule's threshold."""
    quality = card.get("quality") or {}
    bound = _bound(rule.value, float(quality.get("threshold", rule.value)))
    return [
        Found(engine, wilson(round(row["tpr"] * row["fakes"]), row["fakes"], both()), bound)
        for engine, row in sorted(quality.get("engines", {}).items())
        if row["fakes"]
    ]


def traffic(session: Session, rule: Rule) -> Traffic:
    """Photos a day over the last days (or since the first of all), and the flagged share of the latest scores."""
    # Other versions' scores lie between; without a bound, one with few scores would mean reading all.
    since = select(func.max(Score.id) - _VERSIONS * LATEST_SCORES).scalar_subquery()
    latest = (
        select(Score.image_id, Score.score)
        .where(Score.version_id == rule.version_id, Score.id > since)
        .order_by(Score.id.desc())
        .limit(LATEST_SCORES)
        .subquery()
    )
    policy = select(Image.policy).where(Image.id == latest.c.image_id).scalar_subquery()
    shares = select(func.count(), func.sum(case((latest.c.score >= rule.value, 1), else_=0)))
    scored, flagged = session.execute(shares.select_from(latest).where(rule.covers(policy))).one()
    return Traffic(_photos_a_day(session, rule), scored, flagged or 0)


def _photos_a_day(session: Session, rule: Rule) -> float:
    since = moment(-WINDOW_DAYS * _DAY_S)
    statement = select(func.count(), func.min(Image.created_at), select(moment()).scalar_subquery())
    covered = rule.covers(Image.policy)
    count, first, now = session.execute(statement.where(covered, Image.created_at >= since)).one()
    if not count:
        return 0.0
    older = session.scalar(select(exists(select(Image.id).where(covered, Image.created_at < since))))
    days = WINDOW_DAYS if older else max(1.0, (now - first).total_seconds() / _DAY_S)
    return float(count / days)


def _bayes(tpr: float, fpr: float, prevalence: float) -> float:
    flagged = prevalence * tpr + (1 - prevalence) * fpr
    return prevalence * tpr / flagged if flagged > 0 else 0.0


def _bound(value: float, of_card: float) -> str:
    if math.isclose(value, of_card, abs_tol=_CARD_PRECISION):
        return "as"
    return "at least" if value < of_card else "at most"
