"""Another version becomes the active one, at the false positive rates that policies accept; or the last one again.

No image is scored by neither: an image counts as scored when the version that is active at the commit has scored it
(see `db.policy.scores`), and only a version that workers already score with, as the shadow, becomes active. The version before
stays as the shadow, so that a rollback finds its scores.
"""

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import changes, policies, thresholds
from db.rollout import plans
from db.policy.changes import Budget, Done
from db.schema.clock import moment
from db.errors import NotFoundError
from db.schema import Image, ModelVersion, Promotion, Score
from db.policy.signature import Signature

#: Scores are numbered before they are committed: so many may come after a switch under lower numbers.
_IN_FLIGHT = 100_000


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
    plans.check_shadow(after)
    found = plans.plan(session, after, force=force)
    found.gate.check(max_drop)
    if not force:
        plans.check_covered(found.covered, after)
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


def history(session: Session, limit: int) -> list[Promotion]:
    """Every switch, the latest first."""
    return list(session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(limit)))


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
