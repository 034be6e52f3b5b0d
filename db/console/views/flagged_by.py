"""What flagged the photos of each case in a list, in few words: model versions, and what files say."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.file_signals import TAGS
from db.queue.case_filter import SAYING_AI
from db.schema import Flag, ModelVersion, Signal, Threshold


@dataclass(frozen=True, slots=True)
class FlaggedBy:
    """The model versions whose thresholds flagged a photo of a case, and the signals that its photos' files have."""

    models: list[str] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)


def flagged_by(session: Session, case_ids: Collection[int]) -> dict[int, FlaggedBy]:
    """What flagged each of these cases, in two statements for all of them."""
    found: dict[int, FlaggedBy] = defaultdict(FlaggedBy)
    models = select(Flag.case_id, ModelVersion.name).join(Threshold, Threshold.id == Flag.threshold_id)
    models = models.join(ModelVersion, ModelVersion.id == Threshold.version_id).where(Flag.case_id.in_(case_ids))
    for case_id, name in session.execute(models.distinct().order_by(Flag.case_id, ModelVersion.name)):
        found[case_id].models.append(name)
    signals = select(Flag.case_id, Signal.kind, Signal.value).join(Signal, Signal.image_id == Flag.image_id)
    signals = (
        signals.where(Signal.version_id.is_(None), Flag.case_id.in_(case_ids))
        .distinct()
        .order_by(Flag.case_id, Signal.kind, Signal.value)
    )
    for case_id, kind, value in session.execute(signals):
        words = TAGS.get(kind, kind) + (f": {value}" if kind in SAYING_AI else "")
        if words not in found[case_id].signals:
            found[case_id].signals.append(words)
    return found
