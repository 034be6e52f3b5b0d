"""Promoting another version at the false positive rates that policies accept, and rolling back to the previous one.

No image falls between two versions: it counts as scored when the version that is active at the commit has scored it
(see `db.policy.scores`), and only a version that workers already score with, the shadow, can become active. The
previous version stays as the shadow, so that a rollback finds its scores.
"""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.models import versions
from db.policy import case_changes, coverage, policies, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget, CaseCounts
from db.rollout import promotion_plan
from db.schema import Image, ModelVersion, Promotion, Score
from db.schema.clock import moment
from db.schema.soundness import is_sound

#: Scores are numbered before they are committed: up to this many may be committed after a switch with lower numbers.
_IN_FLIGHT = 100_000


def promote(
    session: Session, after: ModelVersion, by: ChangeAuthor, budget: Budget, max_drop: float, *, force: bool = False
) -> Promotion:
    """Make the shadow active, its thresholds matched by false positive rate, in one transaction.

    ``force``, with a reason, accepts reference sets that are too small and workers that have not proven that they score
    with it. Raises `ConflictError` when the quality gate refuses, for a rate over the maximum, for a flood that nobody
    confirmed, for a version that is not the shadow, and for one with too few keys (see `policies.check_keys`);
    `DbError` as `plan_promotion` does, and for ``force`` without a reason.
    """
    if force:
        by.explained("--force")
    case_changes.lock_versions(session)
    session.refresh(after)
    policies.check_keys(session, after)
    before = versions.active(session)
    promotion_plan.check_shadow(after)
    found = promotion_plan.plan_promotion(session, after, force=force)
    promotion_plan.check_quality(session, found, budget, max_drop)
    if not force:
        promotion_plan.check_shadow_coverage(found.covered, after)
    budget.check(found.preview)
    counts = len(found.preview.opens), len(found.preview.closes)
    for item in found.carried:
        thresholds.append_threshold(session, after.id, item.before.policy, item.choice, by, *counts)
    done = _switch(session, before, after, by)
    return _enter(session, "promote", before, after, done, by, max_drop)


def roll_back(session: Session, by: ChangeAuthor) -> Promotion:
    """Make the version before the last switch active again, with its own thresholds and their cases.

    No budget applies: this restores what people had decided. Images that it has not scored since are due again. Raises
    `NotFoundError` when no version was ever promoted, and `ConflictError` when a policy needs more keys than it has.
    """
    case_changes.lock_versions(session)
    last = session.scalar(select(Promotion).order_by(Promotion.id.desc()).limit(1))
    if last is None:
        raise NotFoundError("no model version was ever promoted: there is none to roll back to")
    now, before = versions.active(session), session.get_one(ModelVersion, last.from_version_id)
    policies.check_keys(session, before)
    done = _switch(session, now, before, by)
    _make_due(session, before.id, last)
    return _enter(session, "rollback", now, before, done, by, None)


def list_promotions(session: Session, limit: int) -> list[Promotion]:
    """Promotions and rollbacks, the latest first."""
    return list(session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(limit)))


def _switch(session: Session, before: ModelVersion, after: ModelVersion, by: ChangeAuthor) -> CaseCounts:
    """Make ``after`` active and ``before`` the shadow, and change cases by the thresholds of ``after``."""
    _free_shadow(session, after)
    before.state, before.shadow_since = "shadow", moment()
    session.flush()  # only one may be active at a time
    after.state, after.shadow_since = "active", None
    session.flush()
    return case_changes.change_cases(session, coverage.effective_rules(session, after.id), by)


def _free_shadow(session: Session, after: ModelVersion) -> None:
    """Stop another shadow: the version that was active must stay loaded in its place."""
    other = session.scalar(select(ModelVersion).where(ModelVersion.state == "shadow", ModelVersion.id != after.id))
    if other is not None:
        versions.stop_shadow(session, other)


def _make_due(session: Session, version_id: int, since: Promotion) -> None:
    """Put images back in the queue that were scored since the switch, but not by the version that is active again."""
    by_other = select(Score.image_id).where(
        Score.id > since.last_score_id - _IN_FLIGHT, Score.version_id == since.to_version_id
    )
    ours = select(Score.id).where(Score.image_id == Image.id, Score.version_id == version_id)
    session.execute(
        update(Image)
        .where(Image.state == "scored", Image.id.in_(by_other), ~ours.exists(), is_sound(Image.id))
        .values(state="pending", attempts=0, next_attempt_at=moment(), changed_at=moment())
        .execution_options(synchronize_session=False)
    )


def _enter(
    session: Session,
    kind: str,
    before: ModelVersion,
    after: ModelVersion,
    done: CaseCounts,
    by: ChangeAuthor,
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
