"""Choosing a threshold: by the false positive rate that policy accepts or by its score, measured on real photos.

By the rate, it is certified: with a confidence that is chosen first, the true rate is at most that. The plain share of
the reals, the empirical rule, exceeds it about every second time.
"""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.errors import DbError, NotFoundError
from db.models import references
from db.schema import ModelVersion, Threshold
from db.stats.certification import (
    Certificate,
    TooFewRealsError,
    certify,
    certify_cohorts,
    cohort_bounds,
    count_certified,
    flagged_at,
)
from db.stats.empirical_fpr import Measured, RealScores, count_allowed, reals_needed, threshold_at_fpr
from db.stats.intervals import CONFIDENCE, Estimate, upper_limit

CERTIFIED = ("certified", "certified_by_cohort")


@dataclass(frozen=True, slots=True)
class ThresholdRequest:
    """What a person asks for: a false positive rate or a score, exactly one, or it raises `DbError`.

    ``reference`` names the set of real photos to measure on; None: those of the model's card. A rate is certified with
    ``confidence``, for each cohort if ``worst_cohort``, unless ``empirical``.
    """

    fpr: float | None = None
    value: float | None = None
    reference: str | None = None
    force: bool = False
    confidence: float = CONFIDENCE
    empirical: bool = False
    worst_cohort: bool = False

    def __post_init__(self) -> None:
        if (self.fpr is None) == (self.value is None):
            raise DbError("choose a threshold by its false positive rate or by its score, not by both")
        if self.empirical and self.worst_cohort:
            raise DbError("the empirical rule certifies nothing, and so no cohort: choose one of the two")
        if self.value is not None and (self.empirical or self.worst_cohort):
            raise DbError("a threshold by its score follows no rule: choose it by its false positive rate instead")
        _check_confidence(self.confidence)

    @property
    def rule(self) -> str:
        """One of `db.schema.THRESHOLD_RULES`."""
        if self.value is not None:
            return "value"
        if self.empirical:
            return "empirical"
        return "certified_by_cohort" if self.worst_cohort else "certified"


@dataclass(frozen=True, slots=True)
class RateBound:
    """The rule by which a threshold was chosen, and what follows: with ``confidence``, its FPR is at most ``bound``.

    The rule lets it flag ``allowed`` of the reals (None for a score). ``worst_cohort`` is the cohort with the highest
    bound; the bounds of all cohorts hold together.
    """

    rule: str
    confidence: float | None = None
    allowed: int | None = None
    bound: float | None = None
    worst_cohort: str | None = None
    worst_cohort_bound: float | None = None

    @property
    def certified(self) -> bool:
        """Whether the rate that was asked for is certified."""
        return self.rule in CERTIFIED


@dataclass(frozen=True, slots=True)
class ThresholdChoice:
    """A threshold that may be set, and its false positive rate as measured on a reference set."""

    value: float
    target_fpr: float | None = None
    measured: Measured | None = None
    forced: bool = False
    #: The id of the threshold that it sets again: a rollback.
    restores: int | None = None
    bound: RateBound = RateBound("value")

    @classmethod
    def of(cls, row: Threshold) -> "ThresholdChoice":
        """What a threshold of the history was chosen by, to set it again."""
        measured = None
        if not (row.measured_fpr is None or row.fpr_low is None or row.fpr_high is None or row.reals is None):
            fpr = Estimate(row.measured_fpr, row.fpr_low, row.fpr_high)
            measured = Measured(fpr, row.reals, row.reference or "")
        return cls(row.value, row.target_fpr, measured, row.forced, row.id, rate_bound(row))

    @property
    def rate(self) -> float | None:
        """The FPR that policy must accept: the certified bound, else the measured rate; None when it is unknown."""
        if self.bound.certified:
            return self.bound.bound
        return self.measured.fpr.value if self.measured is not None else None


def choose_threshold(session: Session, version: ModelVersion, request: ThresholdRequest) -> ThresholdChoice:
    """The threshold that is asked for.

    Raises `NotFoundError` for an unknown reference set, and `DbError` when the set is too small or no threshold has
    the rate.
    """
    if request.fpr is not None:
        reals = references.reals_of(session, version, request.reference)
        return choose_by_rule(reals, request.fpr, request.rule, request.confidence, force=request.force)
    reals_or_none = _reals(session, version, request.reference)
    return choose_by_value(reals_or_none, request.value or 0.0, request.confidence)


def choose_by_rule(
    reals: RealScores, target_fpr: float, rule: str, confidence: float = CONFIDENCE, *, force: bool = False
) -> ThresholdChoice:
    """The threshold with this FPR on these reals, by one of `db.schema.THRESHOLD_RULES` but "value".

    Raises `DbError` when there are too few reals; with ``force`` it then falls back to the empirical rule.
    """
    if rule == "empirical":
        return choose_by_fpr(reals, target_fpr, confidence, force=force)
    _check_rate(target_fpr)
    try:
        found = (certify if rule == "certified" else certify_cohorts)(reals, target_fpr, confidence)
    except TooFewRealsError as error:
        if force:
            return choose_by_fpr(reals, target_fpr, confidence, force=True)
        raise DbError(
            f"reference {reals.name!r}: to certify an FPR of {target_fpr:g} with {confidence:.4g} confidence needs "
            f"{error}; add reals, accept a higher FPR, or use the plain share of the reals (--empirical), which "
            "exceeds its FPR about every second time"
        ) from error
    except ValueError as error:
        raise DbError(f"reference {reals.name!r}: {error}: build one of a manifest with such columns") from error
    return _certified(reals, found, rule)


def choose_by_fpr(
    reals: RealScores, target_fpr: float, confidence: float = CONFIDENCE, *, force: bool = False
) -> ThresholdChoice:
    """The threshold that flags at most this share of these reals: the empirical rule.

    Raises `DbError` when there are too few reals to show such a rate, unless ``force`` accepts that.
    """
    _check_rate(target_fpr)
    needed, given = reals_needed(target_fpr), len(reals.scores)
    if given < needed and not force:
        raise DbError(f"reference {reals.name!r}: an FPR of {target_fpr:g} needs {needed} reals, {given} given")
    value = threshold_at_fpr(reals.scores, target_fpr)
    _check_value(reals, value, target_fpr)
    allowed = count_allowed(target_fpr, given)
    bound = _bound("empirical", reals, value, confidence, allowed)
    return ThresholdChoice(value, target_fpr, reals.measure(value), forced=given < needed, bound=bound)


def choose_by_value(reals: RealScores | None, value: float, confidence: float = CONFIDENCE) -> ThresholdChoice:
    """A threshold by its score, with its FPR where there are reals to measure; raises `DbError` when it is no score."""
    if not 0 <= value <= 1:
        raise DbError(f"threshold {value:g} is not a score: 0 (real) to 1 (AI-generated)")
    if reals is None:
        return ThresholdChoice(value)
    return ThresholdChoice(value, measured=reals.measure(value), bound=_bound("value", reals, value, confidence))


def rate_bound(row: Threshold) -> RateBound:
    """What a threshold of the history promises; thresholds of older releases have no bound."""
    rule = row.rule or ("value" if row.target_fpr is None else "empirical")
    return RateBound(rule, row.confidence, row.allowed, row.fpr_bound, row.worst_cohort, row.worst_cohort_bound)


def empirical_count(choice: ThresholdChoice) -> int | None:
    """How many of the same reals the empirical rule would flag; None where no rate was asked for."""
    if choice.target_fpr is None or choice.measured is None:
        return None
    return count_allowed(choice.target_fpr, choice.measured.reals)


def certified_with(choice: ThresholdChoice, reals: int) -> int | None:
    """How many of so many reals the same certificate would allow; None where there is none."""
    if choice.target_fpr is None or choice.bound.confidence is None:
        return None
    return count_certified(choice.target_fpr, reals, choice.bound.confidence)


def _certified(reals: RealScores, found: Certificate, rule: str) -> ThresholdChoice:
    _check_value(reals, found.threshold, found.target_fpr)
    cohorts = found.cohorts or cohort_bounds(reals, found.threshold, found.confidence)
    worst = cohorts[0] if cohorts else None
    bound = RateBound(
        rule,
        found.confidence,
        found.allowed,
        found.bound,
        worst.words if worst else None,
        worst.bound if worst else None,
    )
    return ThresholdChoice(found.threshold, found.target_fpr, reals.measure(found.threshold), bound=bound)


def _bound(rule: str, reals: RealScores, value: float, confidence: float, allowed: int | None = None) -> RateBound:
    """The bound that holds for a number of flagged reals that was fixed first, or for a score that was."""
    flagged = flagged_at(reals.scores, value) if allowed is None else allowed
    cohorts = cohort_bounds(reals, value, confidence)
    worst = cohorts[0] if cohorts else None
    return RateBound(
        rule,
        confidence,
        allowed,
        upper_limit(flagged, len(reals.scores), confidence),
        worst.words if worst else None,
        worst.bound if worst else None,
    )


def _check_rate(target_fpr: float) -> None:
    if not 0 < target_fpr < 1:
        raise DbError(f"an FPR of {target_fpr:g} is not between 0 and 1")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise DbError(f"a confidence of {confidence:g} is not between 0 and 1")


def _check_value(reals: RealScores, value: float, target_fpr: float) -> None:
    if value > 1:
        raise DbError(f"reference {reals.name!r}: no threshold has an FPR of {target_fpr:g}, too many score 1")


def _reals(session: Session, version: ModelVersion, reference: str | None) -> RealScores | None:
    """The reals to measure a score on; None where the version has none: a score can be set all the same."""
    try:
        return references.reals_of(session, version, reference)
    except NotFoundError:
        if reference is not None:
            raise
        return None
