"""What a promotion would do: thresholds matched by false positive rate, what the cards say, which cases change."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from db.models import references, versions
from db.policy import changes, pauses, thresholds
from db.policy.changes import Preview
from db.schema.clock import moment
from db.errors import ConflictError, DbError, NotFoundError
from db.rollout.gate import Gate, gate
from db.stats.reals import Reals
from db.policy.rules import Rule, rules
from db.schema import ModelVersion, Score, Threshold
from db.policy.thresholds import Choice

#: Of the latest scores since the shadow began, workers must have given it so many too.
COVERAGE = 0.99
_LATEST = 1000
#: They are looked for among so many of all versions' scores.
_LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class Carried:
    """A policy's threshold for the version before, and the one with the same target for the version after."""

    before: Threshold
    choice: Choice


@dataclass(frozen=True, slots=True)
class Plan:
    """What a promotion would do."""

    carried: list[Carried]
    gate: Gate
    covered: float | None
    preview: Preview


def plan(session: Session, after: ModelVersion, *, force: bool = False) -> Plan:
    """Carry every policy's target over to ``after``, and say what that would do to cases."""
    before = versions.active(session)
    carried = carry(session, before, after, force=force)
    found = _rules(session, after.id, carried)
    shown = Preview([], [], 0, 0) if "flagging" in pauses.standing(session) else changes.preview(session, found)
    return Plan(carried, gate(before.card, after.card), covered(session, before, after), shown)


def carry(session: Session, before: ModelVersion, after: ModelVersion, *, force: bool = False) -> list[Carried]:
    """Each standing threshold's target on the scale of ``after``: on the set of the same name, else on its card's."""
    return [
        Carried(row, thresholds.by_fpr(_reals(session, after, row), _target(row), force=force))
        for row in thresholds.latest(session, before.id)
    ]


def covered(session: Session, before: ModelVersion, after: ModelVersion) -> float | None:
    """The share of the latest images that both have scored since the shadow began; None: there were none."""
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


def check_covered(share: float | None, after: ModelVersion) -> None:
    """Raises `ConflictError` when workers have not shown that they score with the version."""
    if share is None:
        raise ConflictError(f"no image came since model {after.name} is the shadow: no worker has shown that it has it")
    if share < COVERAGE:
        raise ConflictError(f"model {after.name} has scored {share:.1%} of the latest images, not {COVERAGE:.0%}")


def check_shadow(version: ModelVersion) -> None:
    """Raises `ConflictError` for a version that workers do not score with."""
    if version.state != "shadow":
        raise ConflictError(
            f"model {version.name} is {version.state}, and workers do not have it: unmask model shadow {version.name}"
        )


def _reals(session: Session, after: ModelVersion, row: Threshold) -> Reals:
    try:
        return references.reals_of(session, after, row.reference)
    except NotFoundError:
        return references.reals_of(session, after)


def _target(row: Threshold) -> float:
    """The rate that the policy accepts: as it was asked for, or as it was measured of a value."""
    target = row.target_fpr if row.target_fpr is not None else row.measured_fpr
    if not target:
        raise DbError(f"policy {row.policy!r} has a threshold without a false positive rate: set it with --fpr first")
    return target


def _rules(session: Session, version_id: int, carried: Sequence[Carried]) -> list[Rule]:
    """With the thresholds that it had before, for policies of which the version before knows nothing."""
    values = {policy: row.value for policy, row in thresholds.standing(session, version_id).items()}
    return rules(version_id, values | {item.before.policy: item.choice.value for item in carried})
