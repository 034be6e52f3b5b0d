"""Collectors of metrics from the database. One process reads them, now and then, and serves the values in between."""

import time
from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily
from sqlalchemy.orm import Session

from db.models import versions
from db.quality.certificates import CertificateState, certificate_states
from db.quality.drift import DailyDrift, drift_yesterday
from db.quality.live_precision import LiveRates, live_rates
from db.queue import targets
from db.queue.targets import DueCounts
from db.work import deliveries, queue_stats
from db.work.queue_stats import OpenCases, PendingImages, QueueStats, WaitingLane
from worker.telemetry import metrics
from worker.telemetry.metrics import merged, own_labels

Families = Iterator[GaugeMetricFamily]


class RecordCollector(Protocol):
    """Metrics that are read from the database, at most every ``every_s`` seconds."""

    every_s: float

    def read(self, session: Session) -> None:
        """Read the database; raises `DatabaseError`."""

    def forget(self) -> None:
        """Drop the values: another process reads from now on."""

    def families(self) -> Families:
        """The metrics; without values when nothing was read."""


class QueueCollector:
    """Waiting images, and cases that wait for reviewers. Their ages grow on while the database is unreachable."""

    every_s = 10.0

    def __init__(self) -> None:
        self._found: QueueStats | None = None
        self._due: dict[str, DueCounts] = {}
        self._read_at = 0.0

    def read(self, session: Session) -> None:
        """Count what waits, and add what happened to cases since the last reading to the counters of events."""
        found = queue_stats.read_queue_stats(session)
        self._due = targets.count_due(session)
        if self._found is not None:
            _count_events(self._found.case_events, found.case_events)
        self._found, self._read_at = found, time.monotonic()

    def forget(self) -> None:
        """Drop the counts: another process counts the events from now on."""
        self._found, self._due = None, {}

    def families(self) -> Families:
        """The metrics of images, then by lane, then those of cases by policy."""
        since_s = time.monotonic() - self._read_at
        yield from _of_images(self._found.pending if self._found is not None else None, since_s)
        yield from _of_lanes(self._found.lanes if self._found is not None else {}, since_s)
        yield from _of_cases(self._found.open_cases if self._found is not None else {}, since_s)
        yield from _of_targets(self._due)


def _of_images(found: PendingImages | None, since_s: float) -> Families:
    oldest_s = found.oldest_s + (since_s if found.oldest_s else 0.0) if found is not None else None
    lag_s = found.lag_s + (since_s if found.lag_s else 0.0) if found is not None else None
    yield gauge("pending_images", "Images without a score.", found.pending if found is not None else None)
    yield gauge("leased_images", "Images that workers have leased.", found.leased if found is not None else None)
    yield gauge(
        "pausing_images", "Images that pause between two attempts.", found.pausing if found is not None else None
    )
    yield gauge("oldest_pending_seconds", "Age of the oldest image that waits for its first attempt.", oldest_s)
    yield gauge("sweeper_lag_seconds", "How long the oldest unsent image has been due.", lag_s)


def _of_lanes(found: Mapping[str, WaitingLane], since_s: float) -> Families:
    counts = {lane: line.count for lane, line in found.items()}
    ages = {lane: line.oldest_s + (since_s if line.oldest_s else 0.0) for lane, line in found.items()}
    yield by("lane", "images_waiting", "Images without a score, by lane.", counts)
    yield by("lane", "oldest_waiting_seconds", "Age of a lane's oldest image that waits for its first attempt.", ages)


def _of_cases(found: Mapping[str, OpenCases], since_s: float) -> Families:
    counts = {policy: line.count for policy, line in found.items()}
    ages = {policy: line.oldest_s + since_s for policy, line in found.items()}
    own = own_labels(counts)
    yield by_policy("cases_open", "Cases that wait for reviewers.", merged(counts, own, sum))
    yield by_policy("oldest_case_seconds", "Age of the oldest open case.", merged(ages, own, max))


def _of_targets(found: Mapping[str, DueCounts]) -> Families:
    soon = {policy: line.soon for policy, line in found.items()}
    late = {policy: line.late for policy, line in found.items()}
    own = own_labels(soon)
    yield by_policy("cases_due_soon", "Open cases in the last fifth of their target time.", merged(soon, own, sum))
    yield by_policy("cases_late", "Open cases that have missed their target time.", merged(late, own, sum))


def _count_events(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """Count new events; a total that retention made smaller is not an event."""
    for event in metrics.CASE_EVENTS:
        metrics.case_events.labels(event).inc(max(0, after.get(event, 0) - before.get(event, 0)))


class DriftCollector:
    """Drift: the last whole day's scores compared with the first week of the active model."""

    #: Each reading covers the scores of a week and a day.
    every_s = 900.0

    def __init__(self) -> None:
        self._lines: list[DailyDrift] = []

    def read(self, session: Session) -> None:
        """Compare yesterday with the reference; no values when no model is active or it has no scores yet."""
        self._lines = drift_yesterday(session)

    def forget(self) -> None:
        """Drop the values: another process reads them now."""
        self._lines = []

    def families(self) -> Families:
        """The metrics by policy; a day with few photos has no stability index."""
        own = own_labels({line.policy: line.found.count for line in self._lines})
        indices = {line.policy: line.distance.psi for line in self._lines if line.distance.level != "few"}
        yield by_policy("drift_psi", "Yesterday's population stability index.", merged(indices, own, max))
        shares = {line.policy: line.found.flagged_share for line in self._lines}
        yield by_policy("flagged_share", "The share of yesterday's photos that was flagged.", merged(shares, own, max))


def gauge(name: str, says: str, value: float | None) -> GaugeMetricFamily:
    """A gauge with this value, or without a value."""
    family = GaugeMetricFamily(f"unmask_{name}", says)
    if value is not None:
        family.add_metric([], value)
    return family


def by_policy(name: str, says: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """A gauge with one value per policy; the caller limits their number."""
    return by("policy", name, says, values)


def by(label: str, name: str, says: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """A gauge with one value per value of a label."""
    family = GaugeMetricFamily(f"unmask_{name}", says, labels=[label])
    for of, value in values.items():
        family.add_metric([of], value)
    return family


class LivePrecisionCollector:
    """How often blind reviews find the active model right (see `db.quality.live_precision`)."""

    every_s = 900.0

    def __init__(self) -> None:
        self._lines: list[LiveRates] = []

    def read(self, session: Session) -> None:
        """Estimate precision; no values where nobody judged."""
        active = versions.find_active(session)
        lines = live_rates(session) if active is not None else []
        self._lines = [line for line in lines if line.week is None and active is not None and line.model == active.name]

    def forget(self) -> None:
        """Drop the values: another process reads them now."""
        self._lines = []

    def families(self) -> Families:
        """Live precision and false positive rate, by policy."""
        own = own_labels({line.policy: line.judged for line in self._lines})
        right = {line.policy: line.precision.value for line in self._lines if line.precision is not None}
        wrong = {line.policy: line.fpr.value for line in self._lines if line.fpr is not None}
        yield by_policy(
            "live_precision", "The share of flagged photos that reviewers call AI-generated.", merged(right, own, min)
        )
        yield by_policy("live_fpr", "The share of real photos that is flagged, by reviews.", merged(wrong, own, max))


class CertificateCollector:
    """Whether the certificates of thresholds hold (see `db.quality.certificates`)."""

    every_s = 60.0

    def __init__(self) -> None:
        self._states: list[CertificateState] = []

    def read(self, session: Session) -> None:
        """Read the states of certificates; no values for thresholds that are not certified."""
        self._states = certificate_states(session)

    def forget(self) -> None:
        """Drop the values: another process reads them now."""
        self._states = []

    def families(self) -> Families:
        """Whether they have expired, and how much evidence there is against them, by policy."""
        own = own_labels({state.policy: state.judged for state in self._states})
        expired = {state.policy: float(bool(state.expired)) for state in self._states}
        against = {state.policy: state.e_value / state.limit for state in self._states}
        yield by_policy(
            "certificate_expired", "Whether the threshold's certificate has expired.", merged(expired, own, max)
        )
        yield by_policy(
            "certificate_evidence",
            "Evidence of blind verdicts against the threshold's certificate, which expires at 1.",
            merged(against, own, max),
        )


class NoveltyCollector:
    """Clusters of photos that may be of an engine that nobody knows (see `db.quality.novelty`)."""

    #: A look reads up to five weeks of projections and takes seconds; clusters grow over days.
    every_s = 6 * 3600.0

    def __init__(self) -> None:
        self._count: int | None = None

    def read(self, session: Session) -> None:
        """Count the novel clusters; no value while nothing has been kept for longer than a week."""
        from db.quality.novelty import count_novel_clusters

        self._count = count_novel_clusters(session)

    def forget(self) -> None:
        """Drop the value: another process looks now."""
        self._count = None

    def families(self) -> Families:
        """How many clusters there are."""
        yield gauge("novel_clusters", "Clusters of photos that may be of an engine that nobody knows.", self._count)


class WebhookCollector:
    """Webhooks that wait, and those that could not be delivered."""

    every_s = 30.0

    def __init__(self) -> None:
        self._counts: tuple[int, int] | None = None

    def read(self, session: Session) -> None:
        """Count the deliveries that are pending, and those that were given up."""
        self._counts = deliveries.count_undelivered(session)

    def forget(self) -> None:
        """Drop the values: another process reads them now."""
        self._counts = None

    def families(self) -> Families:
        """The numbers of webhooks that wait, and that were given up."""
        pending, dead = self._counts or (None, None)
        yield gauge("webhook_pending", "Webhooks that are still to be delivered.", pending)
        yield gauge("webhook_dead_letters", "Webhooks that were given up after the last attempt.", dead)
