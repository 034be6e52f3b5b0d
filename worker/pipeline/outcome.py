"""What came of one image: a score, and what it was scored with, or a reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.policy import scores
from db.work.images import Failure, Job
from db.policy.scores import Scored
from worker.inference.models import Pair
from worker.pipeline.stages import Stages


@dataclass(frozen=True, slots=True)
class Done:
    """An image's score, and what it was scored with."""

    scored: Scored
    pair: Pair


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one try; ``bug``: what failed it was no answer that the house gives on purpose."""

    job: Job
    result: Done | Failure
    stages: Stages
    bug: Exception | None = None

    @property
    def outcome(self) -> str:
        """One of `metrics.OUTCOMES`."""
        if isinstance(self.result, Done):
            return "scored"
        return "retried" if self.result.state == "pending" else self.result.state


def record_done(session: Session, done: Sequence[Done]) -> None:
    """By what they were scored with: around a switch of versions a batch may hold two kinds."""
    for pair in dict.fromkeys(item.pair for item in done):
        beside_by = pair.shadow.made_by if pair.shadow is not None else None
        scores.record(session, [item.scored for item in done if item.pair is pair], pair.active.made_by, beside_by)
