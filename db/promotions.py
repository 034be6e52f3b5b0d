"""Another version becomes the active one, at the false positive rates that policies accept; or the last one again.

No image is scored by neither: an image counts as scored when the version that is active at the commit has scored it
(see `db.scores`), and only a version that workers already score with, as the shadow, becomes active. The version before
stays as the shadow, so that a rollback finds its scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, func, select, update
from sqlalchemy.orm import Session

from db import changes, pauses, policies, references, thresholds, versions
from db.changes import Budget, Done, Preview
from db.clock import moment
from db.errors import ConflictError, DbError, NotFoundError
from db.gate import Gate, gate
from db.reals import Reals
from db.rules import Rule, rules
from db.schema import Image, ModelVersion, Promotion, Score, Threshold
from db.signature import Signature
from db.thresholds import Choice

#: Of the latest scores since the shadow began, workers must have given it so many too.
COVERAGE = 0.99
_LATEST = 1000
#: Scores are numbered before they are committed: so many may come after a switch under lower numbers.
_IN_FLIGHT = 100_000


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
    found = _rules(after.id, carried)
    shown = Preview([], [], 0, 0) if "flagging" in pauses.standing(session) else changes.preview(session, found)
    return Plan(carried, gate(before.card, after.card), covered(session, before, after), shown)


def promote(
    session: Session, after: ModelVersion, by: Signature, budget: Budget, max_drop: float, *, force: bool = False
) -> Promotion:
    """Make the shadow active, its thresholds matched by false positive rate, in one transaction.

    ``force``, with a reason, accepts references that are too small and workers that have not shown that they score with
    it. Raises `ConflictError` for a gate that is shut, and for a flood that nobody confirmed.
    """
    if force:
        by.explained("--force")
    changes.lock(session)
    session.refresh(after)
    before = versions.active(session)
    _check_shadow(after)
    found = plan(session, after, force=force)
    found.gate.check(max_drop)
    if not force:
        check_covered(found.covered, after)
    budget.check(found.preview)
    counts = len(found.preview.opens), len(found.preview.closes)
    for item in found.carried:
        thresholds.append(session, after.id, item.before.policy, item.choice, by, *counts)
    done = _switch(session, before, after, by)
    return _enter(session, "promote", before, after, done, by, max_drop)


def roll_back(session: Session, by: Signature) -> Promotion:
    """Make the version before the last switch active again, with its own thresholds and their cases.

    Held to no budget: it restores what people had decided. Images that it has not scored meanwhile are due again.
    """
    changes.lock(session)
    last = session.scalar(select(Promotion).order_by(Promotion.id.desc()).limit(1))
    if last is None:
        raise NotFoundError("no model version was ever promoted: there is none to go back to")
    now, before = versions.active(session), session.get_one(ModelVersion, last.from_version_id)
    done = _switch(session, now, before, by)
    _make_due(session, before.id, last)
    return _enter(session, "rollback", now, before, done, by, None)


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
        .where(Score.id > select(func.max(Score.id) - _IN_FLIGHT).scalar_subquery())
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


def history(session: Session, limit: int) -> list[Promotion]:
    """Every switch, the latest first."""
    return list(session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(limit)))


def _check_shadow(version: ModelVersion) -> None:
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


def _rules(version_id: int, carried: Sequence[Carried]) -> list[Rule]:
    return rules(version_id, {item.before.policy: item.choice.value for item in carried})


def _switch(session: Session, before: ModelVersion, after: ModelVersion, by: Signature) -> Done:
    """``after`` is active, ``before`` the shadow, and cases are as the thresholds of ``after`` say."""
    _free_shadow(session, after)
    before.state, before.shadow_since = "shadow", moment()
    session.flush()  # only one may be active at a time
    after.state, after.shadow_since = "active", None
    session.flush()
    return policies.carry_out(session, policies.standing_rules(session, after.id), by)


def _free_shadow(session: Session, after: ModelVersion) -> None:
    """Another shadow makes room: the version that was active must stay loaded."""
    other = session.scalar(select(ModelVersion).where(ModelVersion.state == "shadow", ModelVersion.id != after.id))
    if other is not None:
        versions.stop_shadow(session, other)


def _make_due(session: Session, version_id: int, since: Promotion) -> None:
    """What was scored since the switch, and not by the version that is active again, waits for it."""
    by_other = select(Score.image_id).where(
        Score.id > since.last_score_id - _IN_FLIGHT, Score.version_id == since.to_version_id
    )
    ours = select(Score.id).where(Score.image_id == Image.id, Score.version_id == version_id)
    session.execute(
        update(Image)
        .where(Image.state == "scored", Image.id.in_(by_other), ~ours.exists())
        .values(state="pending", attempts=0, next_attempt_at=moment(), changed_at=moment())
        .execution_options(synchronize_session=False)
    )


def _enter(
    session: Session,
    kind: str,
    before: ModelVersion,
    after: ModelVersion,
    done: Done,
    by: Signature,
    max_drop: float | None,
) -> Promotion:
    row = Promotion(
        kind=kind,
        from_version_id=before.id,
        to_version_id=after.id,
        last_score_id=session.scalar(select(func.max(Score.id))) or 0,
        max_drop=max_drop,
        opened=done.opened,
        withdrawn=done.withdrawn,
        author=by.author,
        reason=by.reason,
    )
    session.add(row)
    session.flush()
    return row
