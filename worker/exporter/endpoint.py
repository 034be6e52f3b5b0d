"""Serves metrics to Prometheus when the settings name a port."""

import logging
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import REGISTRY, start_http_server
from prometheus_client.registry import Collector

from worker.core.settings import MetricsSettings

log = logging.getLogger(__name__)


class MetricsEndpoint:
    """The metrics endpoint, open until `close`. If its port is in use, the worker runs without metrics.

    ``state`` adds metrics that are not counters of this process.
    """

    def __init__(self, settings: MetricsSettings, state: Collector) -> None:
        self._state = state
        self._server: tuple[WSGIServer, Thread] | None = None
        REGISTRY.register(state)
        if settings.metrics_port is not None:
            self._open(settings.metrics_host, settings.metrics_port)

    def _open(self, host: str, port: int) -> None:
        try:
            self._server = start_http_server(port, host)
        except OSError as error:
            log.error("no metrics: cannot listen on UNMASK_METRICS_PORT=%d of %s: %s", port, host, error.strerror)  # noqa: TRY400 - a traceback adds nothing
        else:
            log.info("metrics at http://%s:%d/metrics", host, port)

    def close(self) -> None:
        """Stop serving metrics."""
        REGISTRY.unregister(self._state)
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            thread.join()
            server.server_close()
