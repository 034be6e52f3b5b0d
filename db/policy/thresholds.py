"""From which score on a policy flags. Thresholds are appended; the latest of a policy and model version stands."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.errors import DbError, NotFoundError
from db.work.images import check_id
from db.stats.intervals import Estimate
from db.stats.reals import Measured, Reals, reals_needed
from db.schema import Threshold
from db.policy.signature import Signature


@dataclass(frozen=True, slots=True)
class Standing:
    """The threshold that a policy flags by."""

    id: int
    value: float


@dataclass(frozen=True, slots=True)
class Choice:
    """A threshold that may be set: by score or by false positive rate, and what was measured of it."""

    value: float
    target_fpr: float | None = None
    measured: Measured | None = None
    forced: bool = False


def by_fpr(reals: Reals, target_fpr: float, *, force: bool = False) -> Choice:
    """The threshold that flags at most this share of these reals.

    Raises `DbError` when they are too few to show such a share, unless ``force`` says that this is known.
    """
    if not 0 < target_fpr < 1:
        raise DbError(f"an FPR of {target_fpr:g} is not between 0 and 1")
    needed, given = reals_needed(target_fpr), len(reals.scores)
    if given < needed and not force:
        raise DbError(f"reference {reals.name!r}: an FPR of {target_fpr:g} needs {needed} reals, {given} given")
    value = reals.threshold_at(target_fpr)
    return Choice(value, target_fpr, reals.measure(value), forced=given < needed)


def by_value(reals: Reals | None, value: float) -> Choice:
    """A threshold by its score, with its FPR where there are reals to measure it on."""
    if not 0 <= value <= 1:
        raise DbError(f"threshold {value:g} is not a score: 0 (real) to 1 (AI-generated)")
    return Choice(value, measured=reals.measure(value) if reals is not None else None)


def standing(session: Session, version_id: int) -> dict[str, Standing]:
    """``{policy: threshold}`` for a model version; a policy that is not there uses "default"'s."""
    return {row.policy: Standing(row.id, row.value) for row in latest(session, version_id)}


def latest(session: Session, version_id: int) -> list[Threshold]:
    """The rows that stand, one a policy."""
    newest = select(func.max(Threshold.id)).where(Threshold.version_id == version_id).group_by(Threshold.policy)
    return list(session.scalars(select(Threshold).where(Threshold.id.in_(newest)).order_by(Threshold.policy)))


def history(session: Session, version_id: int | None, policy: str | None, limit: int) -> list[Threshold]:
    """What was ever set, the latest first: of all versions and policies, or of one."""
    statement = select(Threshold).order_by(Threshold.id.desc()).limit(limit)
    if version_id is not None:
        statement = statement.where(Threshold.version_id == version_id)
    if policy is not None:
        statement = statement.where(Threshold.policy == policy)
    return list(session.scalars(statement))


def before_last(session: Session, version_id: int, policy: str) -> Threshold:
    """The threshold that stood before the one that stands; raises `NotFoundError` when there was none.

    Rolling back is a row as any other: twice back is where one began.
    """
    found = history(session, version_id, policy, limit=2)
    if len(found) < 2:  # noqa: PLR2004 - the one that stands, and the one before
        raise NotFoundError(f"policy {policy!r} has {len(found)} thresholds for this model: none to go back to")
    return found[1]


def as_chosen(row: Threshold) -> Choice:
    """What a threshold of the history was chosen by, to be set again."""
    return Choice(row.value, row.target_fpr, measured_of(row), row.forced)


def measured_of(row: Threshold) -> Measured | None:
    """The FPR that was measured when the threshold was set."""
    if row.measured_fpr is None or row.fpr_low is None or row.fpr_high is None or row.reals is None:
        return None
    return Measured(Estimate(row.measured_fpr, row.fpr_low, row.fpr_high), row.reals, row.reference or "")


def append(
    session: Session,
    version_id: int,
    policy: str,
    choice: Choice,
    by: Signature,
    opens: int | None = None,
    closes: int | None = None,
) -> Threshold:
    """Enter a threshold, which stands from the commit on, and is never changed.

    ``opens`` and ``closes`` are how many cases its change was shown to open and withdraw; doing so is `db.policy.changes`'s.
    """
    measured = choice.measured
    row = Threshold(
        version_id=version_id,
        policy=check_id("policy", policy),
        value=choice.value,
        target_fpr=choice.target_fpr,
        measured_fpr=measured.fpr.value if measured else None,
        fpr_low=measured.fpr.low if measured else None,
        fpr_high=measured.fpr.high if measured else None,
        reals=measured.reals if measured else None,
        reference=measured.reference if measured else None,
        forced=choice.forced,
        opened=opens,
        withdrawn=closes,
        author=by.author,
        reason=by.reason,
    )
    session.add(row)
    session.flush()
    return row


def set_value(session: Session, version_id: int, policy: str, value: float, author: str, reason: str) -> Threshold:
    """Flag what is scored from now on from ``value`` on, whatever its FPR: for a record that has no scores yet."""
    return append(session, version_id, policy, by_value(None, value), Signature(author, reason))
