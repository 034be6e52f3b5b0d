"""The history of thresholds: rows are appended, and the latest of a policy and model version is in effect."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.errors import NotFoundError
from db.policy import policies
from db.policy.attribution import ChangeAuthor
from db.policy.threshold_choice import ThresholdChoice, choose_by_value
from db.schema import Threshold
from db.store.ids import check_id


def in_effect(session: Session, version_id: int) -> list[Threshold]:
    """A model version's thresholds in effect, one a policy, by name; a policy without one uses "default"'s."""
    newest = select(func.max(Threshold.id)).where(Threshold.version_id == version_id).group_by(Threshold.policy)
    return list(session.scalars(select(Threshold).where(Threshold.id.in_(newest)).order_by(Threshold.policy)))


def list_thresholds(session: Session, version_id: int | None, policy: str | None, limit: int) -> list[Threshold]:
    """Every threshold that was set, the latest first: of all versions and policies, or of one."""
    statement = select(Threshold).order_by(Threshold.id.desc()).limit(limit)
    if version_id is not None:
        statement = statement.where(Threshold.version_id == version_id)
    if policy is not None:
        statement = statement.where(Threshold.policy == policy)
    return list(session.scalars(statement))


def previous_threshold(session: Session, version_id: int, policy: str) -> Threshold:
    """The threshold to which a rollback goes, one step back; raises `NotFoundError` at the oldest.

    A rollback's row names the threshold that it restores. So the next rollback goes on from there, never forward.
    """
    newest = list_thresholds(session, version_id, policy, limit=1)
    if not newest:
        raise NotFoundError(f"policy {policy!r} has no threshold for this model: there is none to go back to")
    here = newest[0].restores or newest[0].id
    older = select(Threshold).where(Threshold.version_id == version_id, Threshold.policy == policy, Threshold.id < here)
    found = session.scalar(older.order_by(Threshold.id.desc()).limit(1))
    if found is None:
        raise NotFoundError(f"policy {policy!r}: threshold {here} is the oldest for this model: none to go back to")
    return session.get_one(Threshold, found.restores) if found.restores is not None else found


def append_threshold(
    session: Session,
    version_id: int,
    policy: str,
    choice: ThresholdChoice,
    by: ChangeAuthor,
    opens: int | None = None,
    closes: int | None = None,
) -> Threshold:
    """Enter a threshold, which is in effect from the commit on and never changes.

    ``opens`` and ``closes``: how many cases its preview opened and withdrew; `db.policy.case_changes` does so. Raises
    `IdError` for a policy's name that is no id.
    """
    measured = choice.measured
    row = Threshold(
        version_id=version_id,
        policy=policies.require_policy(session, check_id("policy", policy)),
        value=choice.value,
        target_fpr=choice.target_fpr,
        measured_fpr=measured.fpr.value if measured else None,
        fpr_low=measured.fpr.low if measured else None,
        fpr_high=measured.fpr.high if measured else None,
        reals=measured.reals if measured else None,
        reference=measured.reference if measured else None,
        rule=choice.bound.rule,
        confidence=choice.bound.confidence,
        allowed=choice.bound.allowed,
        fpr_bound=choice.bound.bound,
        worst_cohort=choice.bound.worst_cohort,
        worst_cohort_bound=choice.bound.worst_cohort_bound,
        forced=choice.forced,
        restores=choice.restores,
        opened=opens,
        withdrawn=closes,
        author=by.author,
        reason=by.reason,
    )
    session.add(row)
    session.flush()
    return row


def set_value(session: Session, version_id: int, policy: str, value: float, author: str, reason: str) -> Threshold:
    """Flag new scores from ``value`` on, whatever its FPR: for a record without scores, since no case changes.

    Raises `DbError` when ``value`` is no score.
    """
    return append_threshold(session, version_id, policy, choose_by_value(None, value), ChangeAuthor(author, reason))
