"""What applies while a batch is scored and recorded: the active version, thresholds, bands, flagging and webhooks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import and_, exists, func, select
from sqlalchemy.orm import Session

from db.models import references
from db.policy import thresholds
from db.policy.coverage import DEFAULT, noting_policies
from db.schema import ModelVersion, Pause, Threshold, WebhookSwitch
from db.stats.stability import ScoreBand, score_band


@dataclass(frozen=True, slots=True)
class EffectivePolicy:
    """``version_id`` is -1 while no version is active: no version has that id, so nothing is scored or flagged."""

    version_id: int
    thresholds: Mapping[str, Threshold]
    flagging_paused: bool
    #: The platform hears of scores.
    scores_told: bool = False

    def threshold(self, policy: str) -> Threshold | None:
        """The threshold for images of a policy: its own, or "default"'s."""
        return self.thresholds.get(policy) or self.thresholds.get(DEFAULT)


def effective_policy(session: Session) -> EffectivePolicy:
    """Read all of it in one statement, since workers ask with every batch."""
    newest = select(func.max(Threshold.id)).group_by(Threshold.policy, Threshold.version_id)
    paused = select(Pause.paused).where(Pause.what == "flagging").order_by(Pause.id.desc()).limit(1)
    told = exists(select(WebhookSwitch.name).where(WebhookSwitch.name == "image.scored"))
    statement = (
        select(ModelVersion.id, Threshold, paused.scalar_subquery(), told)
        .outerjoin(Threshold, and_(Threshold.version_id == ModelVersion.id, Threshold.id.in_(newest)))
        .where(ModelVersion.state == "active")
    )
    rows = session.execute(statement).all()
    if not rows:
        return EffectivePolicy(-1, {}, flagging_paused=False)
    thresholds = {row.policy: row for _, row, *_ in rows if row is not None}
    version_id, _, flagging_paused, scores_told = rows[0]
    return EffectivePolicy(version_id, thresholds, bool(flagging_paused), bool(scores_told))


def reference_in_effect(session: Session) -> Callable[[str], str | None]:
    """For a policy's name, the reference by which its threshold for the active model was chosen; None without one.

    It reads thresholds and model versions alone, as the login of the HTTP door may.
    """
    newest = select(func.max(Threshold.id)).group_by(Threshold.policy, Threshold.version_id)
    rows = select(Threshold.policy, Threshold.reference).join(ModelVersion, ModelVersion.id == Threshold.version_id)
    rows = rows.where(ModelVersion.state == "active", Threshold.id.in_(newest))
    found: dict[str, str | None] = dict(session.execute(rows).all())
    return lambda policy: found[policy] if policy in found else found.get(DEFAULT)


def bands_in_force(session: Session, version_id: int) -> dict[str, ScoreBand]:
    """``{policy: the band round its threshold}`` of the policies that note unstable photos by a version's scores."""
    noting = noting_policies(session)
    if not noting:
        return {}
    version = session.get_one(ModelVersion, version_id)
    rows = {row.policy: row for row in thresholds.in_effect(session, version_id)}
    bands: dict[int, ScoreBand] = {row.id: _band(session, version, row) for row in rows.values()}
    standing: Mapping[str, Threshold | None] = {name: rows.get(name) or rows.get(DEFAULT) for name in noting}
    return {name: bands[row.id] for name, row in standing.items() if row is not None}


def _band(session: Session, version: ModelVersion, row: Threshold) -> ScoreBand:
    """Round a threshold, by the reference on which it was measured, or that of the version's card."""
    reals = references.named_reals(session, version, row.reference)
    return score_band(row.value, reals.scores if reals is not None else [])
