"""What a threshold promises about real people, and what that costs, as sentences for people."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from db.models.references import reals_of
from db.policy.forecast import card_tpr
from db.policy.threshold_choice import (
    RateBound,
    ThresholdChoice,
    ThresholdRequest,
    certified_with,
    empirical_count,
)
from db.schema import ModelVersion
from db.stats.certification import next_size
from db.stats.empirical_fpr import threshold_at_fpr


def sentences(session: Session, version: ModelVersion, request: ThresholdRequest, choice: ThresholdChoice) -> list[str]:
    """What a threshold promises, what that costs, and its worst cohort."""
    said = [
        promise(choice.bound, choice.target_fpr),
        certification_cost(session, version, request, choice),
        worst_cohort(choice.bound),
    ]
    return [f"{sentence[0].upper()}{sentence[1:]}." for sentence in said if sentence]


def promise(bound: RateBound, target_fpr: float | None) -> str:
    """What is promised, in a few words: "certified: with 95 % confidence at most 0.5 %"; that nothing is, too."""
    if bound.certified and target_fpr is not None and bound.confidence is not None:
        each = " of each cohort" if bound.rule == "certified_by_cohort" else ""
        return f"certified: with {_percent(bound.confidence)} confidence at most {_percent(target_fpr)}{each}"
    what = "empirical, not certified" if bound.rule == "empirical" else "by score, not certified"
    if bound.bound is None or bound.confidence is None:
        return what
    return f"{what}: with {_percent(bound.confidence)} confidence at most {_percent(bound.bound)}"


def certification_cost(
    session: Session, version: ModelVersion, request: ThresholdRequest, choice: ThresholdChoice
) -> str | None:
    """What a certificate costs: "1 of 1,006 may be flagged, not 5, TPR 71 % instead of 84 %; 2,000 reals ...".

    None for a threshold that is not certified.
    """
    if not choice.bound.certified or choice.measured is None:
        return None
    reals = choice.measured.reals
    more, allowed = next_size(reals), None
    if choice.bound.rule == "certified":
        allowed = certified_with(choice, more)
    said = f"{choice.bound.allowed:,} of {reals:,} may be flagged, not {empirical_count(choice):,}"
    plain = threshold_at_fpr(reals_of(session, version, request.reference).scores, choice.target_fpr or 0.0)
    said += _tpr(version.card, choice.value, plain)
    return said + (f"; {more:,} reals would allow {allowed:,}" if allowed is not None else "")


def worst_cohort(bound: RateBound) -> str | None:
    """The cohort of the reference set that may fare worst; None where the set has no cohorts."""
    if bound.worst_cohort is None or bound.worst_cohort_bound is None:
        return None
    return f"the worst cohort is {bound.worst_cohort}: at most {_percent(bound.worst_cohort_bound)}"


def _tpr(card: Mapping[str, Any], threshold: float, plain_threshold: float) -> str:
    found, plain = card_tpr(card, threshold), card_tpr(card, plain_threshold)
    if found is None or plain is None:
        return " (the card does not say what that costs in TPR: it keeps no scores of fakes)"
    return f", TPR {100 * found:.0f} % instead of {100 * plain:.0f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
