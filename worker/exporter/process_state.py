"""The state of this worker process at the moment of a scrape, so that none of it is stale."""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from db.store.session import head
from db.work.outbox import Lane
from worker.exporter.collectors import by, gauge
from worker.exporter.poller import Poller
from worker.pipeline.service import Service
from worker.telemetry.health import Health
from worker.telemetry.refusals import REFUSALS, refusals

Metrics = Iterator[GaugeMetricFamily | CounterMetricFamily]


class ProcessCollector(Collector):
    """Collects one worker's readiness, images in hand, engines and refused messages, and what its poller read.

    ``queued`` says how many messages waited in Redis when this worker's relay last looked; None while it does not lead.
    """

    def __init__(
        self, service: Service, health: Health, poller: Poller, queued: Callable[[], Mapping[Lane, int] | None]
    ) -> None:
        self._service = service
        self._queued = queued
        self._health = health
        self._poller = poller
        self._build = GaugeMetricFamily("unmask_build_info", "Which software this is.", labels=["version", "schema"])
        self._build.add_metric([version("unmask"), head()], 1)

    def collect(self) -> Metrics:
        """All metrics; Prometheus's client calls it at each scrape."""
        yield self._build
        yield gauge("ready", "Whether this worker has its model and takes messages.", float(self._health.ready))
        yield gauge("in_hand_images", "Images that this worker has in hand.", self._service.in_hand)
        limit = self._service.models.batch_limit.images
        yield gauge("batch_limit_images", "Most images in one forward pass: fewer once memory was full.", limit)
        yield self._engines()
        yield _refused()
        messages = {lane.value: count for lane, count in (self._queued() or {}).items()}
        yield by("lane", "queue_messages", "Messages that wait in Redis, by lane.", messages)
        yield from self._poller.families()

    def _engines(self) -> GaugeMetricFamily:
        labels = ["engine", "device", "version"]
        family = GaugeMetricFamily(
            "unmask_engine_info", "What scores here: the active model, and a shadow.", labels=labels
        )
        pair = self._service.models.pair
        for model in (pair.active, pair.shadow):
            if model is not None:
                family.add_metric([model.made_by.engine, model.made_by.device, model.served.name], 1)
        return family


def _refused() -> CounterMetricFamily:
    family = CounterMetricFamily("unmask_refused_messages", "Messages that this worker refused.", labels=["reason"])
    for reason in REFUSALS:
        family.add_metric([reason], refusals.counts[reason])
    return family
