"""What holds while a batch is recorded: which version is active, by which thresholds it flags, and whether it may."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from db.policy.rules import DEFAULT
from db.schema import ModelVersion, Pause, Threshold
from db.policy.thresholds import Standing


@dataclass(frozen=True, slots=True)
class InForce:
    """``version_id`` is -1 while no version is active: then nothing is anybody's score."""

    version_id: int
    thresholds: Mapping[str, Standing]
    flagging_paused: bool

    def threshold(self, policy: str) -> Standing | None:
        """By what images of a policy flag."""
        return self.thresholds.get(policy) or self.thresholds.get(DEFAULT)


def in_force(session: Session) -> InForce:
    """All of it in one statement, since workers ask with every batch."""
    newest = select(func.max(Threshold.id)).group_by(Threshold.policy, Threshold.version_id)
    paused = select(Pause.paused).where(Pause.what == "flagging").order_by(Pause.id.desc()).limit(1)
    statement = (
        select(ModelVersion.id, Threshold.policy, Threshold.id, Threshold.value, paused.scalar_subquery())
        .outerjoin(Threshold, and_(Threshold.version_id == ModelVersion.id, Threshold.id.in_(newest)))
        .where(ModelVersion.state == "active")
    )
    rows = session.execute(statement).all()
    if not rows:
        return InForce(-1, {}, flagging_paused=False)
    standing = {
        policy: Standing(threshold_id, value) for _, policy, threshold_id, value, _ in rows if policy is not None
    }
    return InForce(rows[0][0], standing, flagging_paused=bool(rows[0][4]))
