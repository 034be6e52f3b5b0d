"""Accounts for each image in the metrics and in the log. It runs once per image, so it must cost next to nothing."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import Histogram

from db.work.images import Failure
from worker.inference.model_server import LoadedModel
from worker.pipeline.attempt import STAGES, AttemptResult
from worker.telemetry import metrics

log = logging.getLogger("worker.images")


class LogSampler:
    """Admits ``per_s`` log lines a second, and counts those that it leaves out."""

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._second = -1
        self._admitted = 0
        self._left_out = 0

    def admit(self) -> int | None:
        """Lines left out since the last one that was admitted; None: leave this one out, too."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._admitted = second, 0
        if self._admitted >= self._per_s:
            self._left_out += 1
            return None
        self._admitted += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class ImageAccounting:
    """For the record thread alone.

    At most ``lines_per_s`` scored images have a log line; failures, and pictures with notes, always have one.
    """

    def __init__(self, lines_per_s: int) -> None:
        self._sampler = LogSampler(lines_per_s)
        self._stages = {stage: metrics.stage_seconds.labels(stage) for stage in STAGES}
        self._scores: dict[int, Histogram] = {}

    def add(self, batch: Iterable[AttemptResult]) -> None:
        """Count, time and log a batch of recorded attempts."""
        outcomes: Counter[str] = Counter()
        for attempt in batch:
            outcomes[attempt.outcome] += 1
            self._time(attempt)
            self._count(attempt)
            self._log(attempt)
        for outcome, count in outcomes.items():
            metrics.images.labels(outcome).inc(count)

    def _time(self, attempt: AttemptResult) -> None:
        attempt.stages.recorded()
        first = attempt.job.tries == 1
        for stage, seconds in attempt.stages.seconds.items():
            if first or stage != "wait":  # the pause between attempts is intattempt
                self._stages[stage].observe(seconds)
        if attempt.outcome != "retried":
            metrics.image_seconds.observe(attempt.stages.total_s)

    def _count(self, attempt: AttemptResult) -> None:
        if isinstance(attempt.result, Failure):
            metrics.failures.labels(metrics.reason_label(attempt.result.reason)).inc()
        elif attempt.pair is not None:
            self._observe(attempt.pair.active, attempt.result.score)
            self._observe(attempt.pair.shadow, attempt.result.beside)

    def _observe(self, model: LoadedModel | None, score: float | None) -> None:
        if model is None or score is None:
            return
        if model.served.id not in self._scores:
            self._scores[model.served.id] = metrics.scores.labels(model.served.name)
        self._scores[model.served.id].observe(score)

    def _log(self, attempt: AttemptResult) -> None:
        level = _level(attempt)
        if not log.isEnabledFor(level):
            return
        left_out = self._sampler.admit() if attempt.outcome == "scored" and not attempt.notes else 0
        if left_out is not None:
            more = {"left_out": left_out} if left_out else {}
            log.log(level, "image %s", attempt.outcome, extra=_fields(attempt) | more, exc_info=attempt.bug)


def _level(attempt: AttemptResult) -> int:
    if attempt.bug is not None:
        return logging.ERROR
    return logging.INFO if attempt.outcome == "scored" else logging.WARNING


def _fields(attempt: AttemptResult) -> dict[str, Any]:
    """Fields of the log line; neither the account nor the score, which are not for everyone who reads logs."""
    fields: dict[str, Any] = {"image": attempt.job.image_id, "attempt": attempt.job.attempts}
    if attempt.pair is not None:
        fields["model"] = attempt.pair.active.served.name
    if attempt.notes:
        fields["notes"] = ",".join(attempt.notes)
    if isinstance(attempt.result, Failure):
        fields |= {"reason": attempt.result.reason, "detail": attempt.result.detail}
    fields |= {f"{stage}_s": round(seconds, 4) for stage, seconds in attempt.stages.seconds.items()}
    return fields | {"total_s": round(attempt.stages.total_s, 4)}
