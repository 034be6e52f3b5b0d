"""What came of each image, for the metrics and for the log. Called once an image: it must cost next to nothing."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import Histogram

from worker.telemetry import metrics
from worker.inference.models import Loaded
from worker.pipeline.outcome import Done, Ended

log = logging.getLogger("worker.images")


class Sampled:
    """Lets ``per_s`` through in a second, and counts what it leaves out."""

    def __init__(self, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._second = -1
        self._said = 0
        self._left_out = 0

    def take(self) -> int | None:
        """How many were left out since the last that was let through; None: this one is left out as well."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._said = second, 0
        if self._said >= self._per_s:
            self._left_out += 1
            return None
        self._said += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class Tally:
    """One thread's, that records. At most ``lines_per_s`` scored images have their line; what failed always has."""

    def __init__(self, lines_per_s: int) -> None:
        self._sampled = Sampled(lines_per_s)
        self._stages = {stage: metrics.stage_seconds.labels(stage) for stage in ("wait", "fetch", "decode", "forward")}
        self._stages["record"] = metrics.stage_seconds.labels("record")
        self._scores: dict[int, Histogram] = {}

    def add(self, batch: Iterable[Ended]) -> None:
        """Count images that are recorded."""
        outcomes: Counter[str] = Counter()
        for ended in batch:
            outcomes[ended.outcome] += 1
            self._time(ended)
            self._count(ended)
            self._say(ended)
        for outcome, count in outcomes.items():
            metrics.images.labels(outcome).inc(count)

    def _time(self, ended: Ended) -> None:
        ended.stages.recorded()
        first = ended.job.tries == 1
        for stage, seconds in ended.stages.seconds.items():
            if first or stage != "wait":  # between tries it waits on purpose
                self._stages[stage].observe(seconds)
        if ended.outcome != "retried":
            metrics.image_seconds.observe(ended.stages.total_s)

    def _count(self, ended: Ended) -> None:
        if not isinstance(ended.result, Done):
            metrics.failures.labels(metrics.reason_label(ended.result.reason)).inc()
            return
        self._score_of(ended.result.pair.active).observe(ended.result.scored.score)
        if ended.result.pair.shadow is not None and ended.result.scored.beside is not None:
            self._score_of(ended.result.pair.shadow).observe(ended.result.scored.beside)

    def _score_of(self, model: Loaded) -> Histogram:
        found = self._scores.get(model.served.id)
        if found is None:
            found = self._scores[model.served.id] = metrics.scores.labels(model.served.name)
        return found

    def _say(self, ended: Ended) -> None:
        level = _level(ended)
        if not log.isEnabledFor(level):
            return
        left_out = self._sampled.take() if ended.outcome == "scored" else 0
        if left_out is not None:
            more = {"left_out": left_out} if left_out else {}
            log.log(level, "image %s", ended.outcome, extra=_fields(ended) | more, exc_info=ended.bug)


def _level(ended: Ended) -> int:
    if ended.bug is not None:
        return logging.ERROR
    return logging.INFO if ended.outcome == "scored" else logging.WARNING


def _fields(ended: Ended) -> dict[str, Any]:
    """Neither the account nor the score: logs are read by more people than those are for."""
    fields: dict[str, Any] = {"image": ended.job.image_id, "attempt": ended.job.attempts}
    if isinstance(ended.result, Done):
        fields["model"] = ended.result.pair.active.served.name
    else:
        fields |= {"reason": ended.result.reason, "detail": ended.result.detail}
    fields |= {f"{stage}_s": round(seconds, 4) for stage, seconds in ended.stages.seconds.items()}
    return fields | {"total_s": round(ended.stages.total_s, 4)}
