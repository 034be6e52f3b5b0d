"""What metrics say of the record: one process of all reads it, now and then, and keeps what it read until the next."""

import time
from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.orm import Session

from db.work import census
from db.work.census import Census, OpenCases, Waiting
from db.quality.drift import DayLine, yesterday
from worker.telemetry import metrics
from worker.telemetry.metrics import merged, own_labels

Families = Iterator[GaugeMetricFamily]


class Reading(Protocol):
    """Something that is read of the record, no more often than every ``every_s`` seconds."""

    every_s: float

    def read(self, session: Session) -> None:
        """Read it anew."""

    def forget(self) -> None:
        """Another process reads it from now on."""

    def families(self) -> Families:
        """All its metrics; without values when nothing was read."""


class CensusReading:
    """Images that wait, and cases that wait for people. What waits grows older, also while the database is away."""

    every_s = 10.0

    def __init__(self) -> None:
        self._found: Census | None = None
        self._read_at = 0.0

    def read(self, session: Session) -> None:
        """Count; what happened to cases since the last time is counted as having happened."""
        found = census.take(session)
        if self._found is not None:
            _count_events(self._found.events, found.events)
        self._found, self._read_at = found, time.monotonic()

    def forget(self) -> None:
        """What happens meanwhile, another counts."""
        self._found = None

    def families(self) -> Families:
        """Those of images, then those of cases by policy."""
        since_s = time.monotonic() - self._read_at
        yield from _of_images(self._found.waiting if self._found is not None else None, since_s)
        yield from _of_cases(self._found.open_cases if self._found is not None else {}, since_s)


def _of_images(found: Waiting | None, since_s: float) -> Families:
    oldest_s = found.oldest_s + (since_s if found.oldest_s else 0.0) if found is not None else None
    lag_s = found.lag_s + (since_s if found.lag_s else 0.0) if found is not None else None
    yield gauge("pending_images", "Images without a score.", found.pending if found is not None else None)
    yield gauge("leased_images", "Those that workers have in hand.", found.leased if found is not None else None)
    yield gauge("pausing_images", "Those that pause between two tries.", found.pausing if found is not None else None)
    yield gauge("oldest_pending_seconds", "For how long the oldest has waited that is not tried again.", oldest_s)
    yield gauge("sweeper_lag_seconds", "For how long an image has been due to be sent, and is not.", lag_s)


def _of_cases(found: Mapping[str, OpenCases], since_s: float) -> Families:
    counts = {policy: line.count for policy, line in found.items()}
    ages = {policy: line.oldest_s + since_s for policy, line in found.items()}
    own = own_labels(counts)
    yield by_policy("cases_open", "Cases that wait for people.", merged(counts, own, sum))
    yield by_policy("oldest_case_seconds", "For how long the oldest of them has.", merged(ages, own, max))


def _count_events(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """What retention deleted meanwhile makes a total smaller, and is no event."""
    for event in metrics.CASE_EVENTS:
        metrics.case_events.labels(event).inc(max(0, after.get(event, 0) - before.get(event, 0)))


class DriftReading:
    """The last whole day's scores beside those of the first week of the model that scores."""

    #: It reads the scores of a week and a day.
    every_s = 900.0

    def __init__(self) -> None:
        self._lines: list[DayLine] = []

    def read(self, session: Session) -> None:
        """Compare; nothing when no model is active or it has no score yet."""
        self._lines = yesterday(session)

    def forget(self) -> None:
        """Nothing."""
        self._lines = []

    def families(self) -> Families:
        """By policy; a day with few photos has no index."""
        own = own_labels({line.policy: line.found.count for line in self._lines})
        indices = {line.policy: line.distance.psi for line in self._lines if line.distance.level != "few"}
        yield by_policy("drift_psi", "Yesterday's population stability index.", merged(indices, own, max))
        shares = {line.policy: line.found.flagged_share for line in self._lines}
        yield by_policy("flagged_share", "The share of yesterday's photos that was flagged.", merged(shares, own, max))


def gauge(name: str, says: str, value: float | None) -> GaugeMetricFamily:
    """One that has a value, or none now."""
    family = GaugeMetricFamily(f"unmask_{name}", says)
    if value is not None:
        family.add_metric([], value)
    return family


def by_policy(name: str, says: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """One with a value a policy; how many there are is the caller's to limit."""
    family = GaugeMetricFamily(f"unmask_{name}", says, labels=["policy"])
    for policy, value in values.items():
        family.add_metric([policy], value)
    return family
