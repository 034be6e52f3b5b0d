"""This worker process, from Celery's first signal to its last: its parts, and the order in which they start and end."""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click
from celery import signals
from click.core import ParameterSource

from db.errors import DbError
from db.redaction import redacted
from db.review.settings import ReviewSettings
from trainer.errors import TrainerError
from worker.background.backfill import Backfiller
from worker.background.case_ranker import CaseRanker
from worker.background.certificate_watch import CertificateWatch
from worker.background.lease_renewer import LeaseRenewer
from worker.background.phash_backfill import PhashBackfiller
from worker.background.probes import BrokerProbe, DiskProbe, HealthReporter, RecordProbe
from worker.background.relay import DueWatcher, Relay, Senders
from worker.background.webhooks import WebhookDispatcher
from worker.broker import sender, transport
from worker.broker.app import app
from worker.broker.library_check import check_libraries
from worker.core.errors import WorkerError
from worker.core.periodic import PeriodicThread
from worker.core.settings import LogSettings, WorkerSettings
from worker.exporter.collectors import (
    CertificateCollector,
    DriftCollector,
    LivePrecisionCollector,
    NoveltyCollector,
    QueueCollector,
    RecordCollector,
    WebhookCollector,
)
from worker.exporter.endpoint import MetricsEndpoint
from worker.exporter.poller import Poller
from worker.exporter.process_state import ProcessCollector
from worker.lifecycle.shutdown import BROKEN, Shutdown
from worker.pipeline.service import Service
from worker.telemetry import logs
from worker.telemetry.health import Health

log = logging.getLogger(__name__)


class Process:
    """The parts of this worker process; empty in any other process that imports the tasks."""

    health: Health | None = None
    service: Service | None = None
    shutdown: Shutdown | None = None
    metrics: MetricsEndpoint | None = None
    threads: Sequence[PeriodicThread] = ()


def service() -> Service:
    """The service of this worker; raises RuntimeError in a process that is not a worker."""
    if Process.service is None:
        raise RuntimeError("no worker runs in this process: start one with `unmask worker`")
    return Process.service


@signals.worker_init.connect
def _open(**_: Any) -> None:
    """Start all parts before the first message; a worker that cannot serve says why in one line and exits."""
    try:
        _serve()
    except (DbError, TrainerError, WorkerError) as error:
        sys.stderr.write(f"Error: {redacted(str(error))}\n")
        raise SystemExit(2) from error
    except Exception as error:
        # Full memory, say, or a missing driver: Celery would log it, go on, and drop message after message.
        log.critical("this worker cannot start", exc_info=True)
        raise SystemExit(BROKEN) from error


def _serve() -> None:
    check_libraries("celery")
    settings = WorkerSettings.load()
    transport.serve(app)
    Process.health = Health(settings.run_dir)
    atexit.register(Process.health.remove)
    Process.service = Service.open(settings, _fail)
    webhooks = WebhookDispatcher(Process.service.database, Process.service.held.owner, settings)
    webhooks.listen()  # before anything can be flagged
    _start_threads(Process.service, Process.health, webhooks)


def _start_threads(service: Service, health: Health, webhooks: WebhookDispatcher) -> None:
    health.loaded(service.held.owner)
    Process.shutdown = Shutdown(_stop, service.release_leases, health, service.settings.stop_s)
    database, owner, settings = service.database, service.held.owner, service.settings
    relay = Relay(app, database, owner, Senders(sender.send, sender.send_requests), settings)
    probes = [RecordProbe(database, owner), BrokerProbe(app), DiskProbe(settings)]
    Process.threads = [
        *probes,
        HealthReporter(health, probes),
        relay,
        DueWatcher(database, relay),
        LeaseRenewer(service),
        Backfiller(service),
        PhashBackfiller(service),
        CertificateWatch(database, owner),
        CaseRanker(database, owner, ReviewSettings.load()),
        webhooks,
    ]
    if settings.metrics_port is not None:
        collectors: list[RecordCollector] = [
            QueueCollector(),
            DriftCollector(),
            LivePrecisionCollector(),
            CertificateCollector(),
            NoveltyCollector(),
            WebhookCollector(),
        ]
        poller = Poller(database, owner, collectors)
        Process.threads = [*Process.threads, poller]
        Process.metrics = MetricsEndpoint(settings, ProcessCollector(service, health, poller, lambda: relay.queued))
    # These run without the broker, for which Celery may have to wait.
    service.models.on_model_unavailable = _end
    service.models.batch_limit.on_lowered = health.batch_limited
    service.models.start()
    for thread in Process.threads:
        thread.start()


def _fail(why: str) -> None:
    if Process.shutdown is not None:
        Process.shutdown.fail(why)


def _end(why: str) -> None:
    """End as at SIGTERM: no image that this worker holds is to blame."""
    log.critical("this worker ends: %s", why)
    os.kill(os.getpid(), signal.SIGTERM)


@signals.setup_logging.connect
def _set_up_logging(loglevel: int | None = None, **_: Any) -> None:
    """Set up our log, at the level of Celery's command line or else of the settings."""
    try:
        settings = LogSettings.load()
    except DbError:  # the start is about to fail for the same reason, and to say so
        settings = LogSettings()
    context = click.get_current_context(silent=True)
    asked = context is not None and context.get_parameter_source("loglevel") is ParameterSource.COMMANDLINE
    logs.configure(settings, loglevel if asked else None)


@signals.worker_shutting_down.connect
def _begin_shutdown(**_: Any) -> None:
    """At SIGTERM Celery takes no more messages and waits for those that are processed; we bound that wait."""
    if Process.shutdown is not None:
        Process.shutdown.begin()


def _stop() -> None:
    for thread in Process.threads:
        thread.stop()


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    _stop()  # there may have been no signal: an error also ends Celery
    for thread in Process.threads:
        thread.join()
    if Process.metrics is not None:
        Process.metrics.close()
    if Process.service is not None:
        Process.service.close()
