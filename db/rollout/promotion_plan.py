"""What a promotion would do: thresholds matched by false positive rate, what the cards say, which cases change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, NotFoundError
from db.models import references, versions
from db.policy import case_changes, thresholds
from db.policy.case_changes import Budget, ChangeEffect
from db.policy.coverage import FlaggingRule, rules_of
from db.policy.threshold_choice import ThresholdChoice, choose_by_rule, rate_bound
from db.rollout.quality_gate import MeasuredRate, QualityGate, compare_cards
from db.schema import ModelVersion, Score, Threshold
from db.schema.clock import moment
from db.stats.empirical_fpr import RealScores
from db.stats.intervals import CONFIDENCE

#: The share of the latest images since the shadow began that the shadow must have scored too.
COVERAGE = 0.99
_LATEST = 1000
#: The latest images are looked for among so many scores of all versions.
_LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class CarriedThreshold:
    """A policy's threshold for the version before, and the one with the same target for the version after."""

    before: Threshold
    choice: ThresholdChoice


@dataclass(frozen=True, slots=True)
class PromotionPlan:
    """What a promotion would do."""

    carried: list[CarriedThreshold]
    gate: QualityGate
    covered: float | None
    preview: ChangeEffect


def plan_promotion(session: Session, after: ModelVersion, *, force: bool = False) -> PromotionPlan:
    """Carry every policy's target over to ``after``, and preview what that would do to cases.

    Raises `DbError` when a target cannot be carried over: no FPR is known, or the reals are too few (see ``force``).
    """
    before = versions.active(session)
    carried = carry_thresholds(session, before, after, force=force)
    effect = case_changes.preview_unless_paused(session, _rules(session, after.id, carried))
    covered = shadow_coverage(session, before, after)
    return PromotionPlan(carried, _judge(session, before, after, carried), covered, effect)


def carry_thresholds(
    session: Session, before: ModelVersion, after: ModelVersion, *, force: bool = False
) -> list[CarriedThreshold]:
    """Each effective threshold's target FPR by the same rule, on the set of the same name, else on the card's reals.

    A certificate is made anew, with the same confidence. A threshold that was set by its score keeps its measured rate.
    """
    return [
        CarriedThreshold(row, _carry(_reals(session, after, row), row, force=force))
        for row in thresholds.in_effect(session, before.id)
    ]


def shadow_coverage(session: Session, before: ModelVersion, after: ModelVersion) -> float | None:
    """The share of the latest images since the shadow began that both have scored; None when no image came."""
    latest = (
        select(Score.image_id)
        .where(Score.id > select(func.max(Score.id) - _LOOKED_AT).scalar_subquery())
        .where(Score.version_id == before.id, Score.created_at >= (after.shadow_since or moment()))
        .order_by(Score.id.desc())
        .limit(_LATEST)
        .subquery()
    )
    theirs = and_(Score.image_id == latest.c.image_id, Score.version_id == after.id)
    count, both = session.execute(
        select(func.count(), func.count(Score.id)).select_from(latest).outerjoin(Score, theirs)
    ).one()
    return both / count if count else None


def check_shadow_coverage(share: float | None, after: ModelVersion) -> None:
    """Raises `ConflictError` when workers have not proven that they score with the version."""
    if share is None:
        raise ConflictError(f"no image came since model {after.name} became the shadow: no worker has proven it yet")
    if share < COVERAGE:
        raise ConflictError(f"model {after.name} has scored {share:.1%} of the latest images, not {COVERAGE:.0%}")


def check_quality(session: Session, plan: PromotionPlan, budget: Budget, max_drop: float) -> None:
    """Raises `ConflictError` when the quality gate refuses, or a carried threshold flags too many real photos."""
    plan.gate.check(max_drop)
    for item in plan.carried:
        budget.check_rate(session, item.before.policy, item.choice)


def check_shadow(version: ModelVersion) -> None:
    """Raises `ConflictError` for a version that workers do not score with."""
    if version.state != "shadow":
        raise ConflictError(
            f"model {version.name} is {version.state}, not the shadow: unmask model shadow {version.name}"
        )


def _judge(
    session: Session, before: ModelVersion, after: ModelVersion, carried: Sequence[CarriedThreshold]
) -> QualityGate:
    """What the cards say, and what both versions flag of the reference sets that both have scored."""
    shared = references.shared_names(session, before, after)
    measured = [
        _measure(item, references.reals_of(session, before, name), references.reals_of(session, after, name))
        for name in shared
        for item in carried
    ]
    return replace(compare_cards(before.card, after.card), references=shared, measured=measured)


def _measure(item: CarriedThreshold, before: RealScores, after: RealScores) -> MeasuredRate:
    row, found = before.measure(item.before.value), after.measure(item.choice.value)
    return MeasuredRate(item.before.policy, after.name, found.reals, _target(item.before), row.fpr, found.fpr)


def _carry(reals: RealScores, row: Threshold, *, force: bool) -> ThresholdChoice:
    bound = rate_bound(row)
    rule = bound.rule if bound.certified else "empirical"
    return choose_by_rule(reals, _target(row), rule, bound.confidence or CONFIDENCE, force=force)


def _reals(session: Session, after: ModelVersion, row: Threshold) -> RealScores:
    try:
        return references.reals_of(session, after, row.reference)
    except NotFoundError:
        return references.reals_of(session, after)


def _target(row: Threshold) -> float:
    """The FPR that the policy accepts: as it was asked for, or as it was measured for a score."""
    target = row.target_fpr if row.target_fpr is not None else row.measured_fpr
    if not target:
        raise DbError(f"policy {row.policy!r} has a threshold without a false positive rate: set it with --fpr first")
    return target


def _rules(session: Session, version_id: int, carried: Sequence[CarriedThreshold]) -> list[FlaggingRule]:
    """The carried thresholds, and those that the version already has for other policies."""
    values = {row.policy: row.value for row in thresholds.in_effect(session, version_id)}
    return rules_of(session, version_id, values | {item.before.policy: item.choice.value for item in carried})
