"""From which score on a policy flags. Thresholds are appended; the latest of a policy and model version stands."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.errors import DbError
from db.images import check_id
from db.schema import Threshold


@dataclass(frozen=True, slots=True)
class Standing:
    """The threshold that a policy flags by."""

    id: int
    value: float


def standing(session: Session, version_id: int) -> dict[str, Standing]:
    """``{policy: threshold}`` for a model version; a policy that is not there uses "default"'s."""
    return {row.policy: Standing(row.id, row.value) for row in latest(session, version_id)}


def latest(session: Session, version_id: int) -> list[Threshold]:
    """The rows that stand, one a policy."""
    newest = select(func.max(Threshold.id)).where(Threshold.version_id == version_id).group_by(Threshold.policy)
    return list(session.scalars(select(Threshold).where(Threshold.id.in_(newest)).order_by(Threshold.policy)))


def set_value(session: Session, version_id: int, policy: str, value: float, author: str, reason: str) -> Threshold:
    """Flag from ``value`` on under this policy; holds for images that are scored from now on."""
    if not 0 <= value <= 1:
        raise DbError(f"threshold {value:g} is not a score: 0 (real) to 1 (AI-generated)")
    threshold = Threshold(
        version_id=version_id, policy=check_id("policy", policy), value=value, author=author, reason=reason
    )
    session.add(threshold)
    session.flush()
    return threshold
