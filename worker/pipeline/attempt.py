"""One attempt at one image: how long each stage took, what came of it, and how a batch of attempts is recorded."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.policy import scores
from db.policy.scores import Scored
from db.work import images
from db.work.images import Failure, LeasedImage
from worker.inference.model_server import ActivePair

#: wait: from the commit of the image's row (or its release for another try) until a thread starts it; fetch: until its
#: bytes are here; decode: its pixels; inspect: its metadata, while it waits for a batch; forward: the rest of that
#: wait, and its score; record: until that is committed.
STAGES = ("wait", "fetch", "decode", "inspect", "forward", "record")


class Stopwatch:
    """Times the stages of one attempt, from its lease on; one thread at a time uses it."""

    __slots__ = ("_age_s", "_begun", "_ended", "seconds")

    def __init__(self, age_s: float, waited_s: float) -> None:
        self._age_s = age_s
        self._begun = time.perf_counter()
        self._ended = self._begun
        #: Seconds by stage, of each stage that the image reached; one that failed counts.
        self.seconds = {"wait": waited_s}

    def start(self) -> None:
        """A thread starts the image: the time since its lease belongs to its wait."""
        self._ended = time.perf_counter()
        self.seconds["wait"] += self._ended - self._begun

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Time what happens within as this stage, also when it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._ended = time.perf_counter()
            self.seconds[stage] = self._ended - start

    def recorded(self) -> None:
        """The attempt is committed: the time since the last stage was its record."""
        now = time.perf_counter()
        self.seconds["record"] = now - self._ended
        self._ended = now

    @property
    def total_s(self) -> float:
        """Seconds from the commit of the image's row until its last stage ended."""
        return self._age_s + self._ended - self._begun


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """What came of one attempt.

    ``pair`` is what the image was scored with, None for a failure. ``bug`` is the error behind a failure that this
    software does not raise on purpose. ``notes`` are those of the decoded picture, if it was scored.
    """

    job: LeasedImage
    result: Scored | Failure
    stages: Stopwatch
    pair: ActivePair | None = None
    bug: Exception | None = None
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """One of `metrics.OUTCOMES`."""
        if isinstance(self.result, Scored):
            return "scored"
        return "retried" if self.result.state == "pending" else self.result.state


def record_attempts(session: Session, attempts: Sequence[AttemptResult], owner: str) -> None:
    """Write scores and failures; raises `db.errors.DatabaseError` when the database refuses one.

    Scores are grouped by the pair that made them: around a switch of versions a batch may hold two.
    """
    for pair in dict.fromkeys(attempt.pair for attempt in attempts if attempt.pair is not None):
        found = [a.result for a in attempts if a.pair is pair and isinstance(a.result, Scored)]
        scores.record(session, found, pair.active.made_by, pair.shadow.made_by if pair.shadow is not None else None)
    images.record_failures(session, [a.result for a in attempts if isinstance(a.result, Failure)], owner)
