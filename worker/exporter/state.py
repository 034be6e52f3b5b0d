"""How this worker process is at the moment of a scrape: asked for, so that nothing of it is stale."""

from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from db.store.session import head
from worker.exporter.gatherer import Gatherer
from worker.telemetry.health import Health
from worker.broker.messages import REFUSALS, refusals
from worker.exporter.readings import gauge
from worker.pipeline.service import Service

Families = Iterator[GaugeMetricFamily | CounterMetricFamily]


class State(Collector):
    """Of one worker: whether it is ready, what it has in hand and scores with, what it refused and what it read."""

    def __init__(self, service: Service, health: Health, gatherer: Gatherer) -> None:
        self._service = service
        self._health = health
        self._gatherer = gatherer
        self._build = GaugeMetricFamily("unmask_build_info", "Which software this is.", labels=["version", "schema"])
        self._build.add_metric([version("unmask"), head()], 1)

    def collect(self) -> Families:
        """Everything, at each scrape."""
        yield self._build
        yield gauge("ready", "Whether this worker has its model and takes messages.", float(self._health.ready))
        yield gauge("in_hand_images", "Images that this worker has in hand.", self._service.in_hand)
        yield self._engines()
        yield _refused()
        yield from self._gatherer.families()

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
