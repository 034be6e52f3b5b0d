"""This worker process, from Celery's first signal to its last: what it holds, and in which order it begins and ends."""

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
from trainer.errors import TrainerError
from worker.broker import transport
from worker.telemetry import logs
from worker.core.beside import Beside
from worker.celery import app
from worker.client import send, send_requests
from worker.background.courier import Courier
from worker.lifecycle.ending import BROKEN, Ending
from worker.core.errors import WorkerError
from worker.exporter.exposition import Exposition
from worker.exporter.gatherer import Gatherer
from worker.telemetry.health import Health
from worker.background.looker import Looker
from worker.exporter.people_readings import DeliveriesReading, LiveReading
from worker.exporter.readings import CensusReading, DriftReading
from worker.background.renewer import Renewer
from worker.background.rescorer import Rescorer
from worker.pipeline.service import Service
from worker.core.settings import LogSettings, WorkerSettings
from worker.exporter.state import State
from worker.background.sweeper import Senders, Sweeper

log = logging.getLogger(__name__)


class Process:
    """What this worker process runs; empty in any other process that imports the tasks."""

    health: Health | None = None
    service: Service | None = None
    ending: Ending | None = None
    exposition: Exposition | None = None
    beside: Sequence[Beside] = ()


def service() -> Service:
    """This worker's; raises RuntimeError in a process that is none."""
    if Process.service is None:
        raise RuntimeError("no worker runs in this process: start one with `unmask worker`")
    return Process.service


@signals.worker_init.connect
def _open(**_: Any) -> None:
    """Before anything is taken from the queue; a worker that cannot serve says why in one line and does not start."""
    try:
        _serve()
    except (DbError, TrainerError, WorkerError) as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(2) from error
    except Exception as error:
        # Celery would log it, go on, and drop message after message: memory that is full, a driver that is missing.
        log.critical("this worker cannot start", exc_info=True)
        raise SystemExit(BROKEN) from error


def _serve() -> None:
    settings = WorkerSettings.load()
    transport.serve(app)
    Process.health = Health(settings.run_dir)
    atexit.register(Process.health.remove)
    Process.service = Service.open(settings, _fail)
    courier = Courier(Process.service.database, Process.service.owner, settings)
    courier.listen()  # before anything can be flagged
    _prepare(Process.service, Process.health, courier)


def _prepare(service: Service, health: Health, courier: Courier) -> None:
    health.loaded(service.owner)
    Process.ending = Ending(_stop, service.let_go, health, service.settings.stop_s)
    database, owner, settings = service.database, service.owner, service.settings
    Process.beside = [
        Sweeper(app, database, owner, Senders(send, send_requests), settings),
        Renewer(service),
        Rescorer(service),
        Looker(service),
        courier,
    ]
    if settings.metrics_port is not None:
        gatherer = Gatherer(database, owner, [CensusReading(), DriftReading(), LiveReading(), DeliveriesReading()])
        Process.beside = [*Process.beside, gatherer]
        Process.exposition = Exposition(settings, State(service, health, gatherer))
    # All this goes on without a broker as well, for which Celery may have to wait.
    service.models.hopeless = _leave
    service.models.start()
    for each in Process.beside:
        each.start()


def _fail(why: str) -> None:
    if Process.ending is not None:
        Process.ending.fail(why)


def _leave(why: str) -> None:
    """As at SIGTERM: nothing that it has in hand is to blame."""
    log.critical("this worker ends: %s", why)
    os.kill(os.getpid(), signal.SIGTERM)


@signals.setup_logging.connect
def _log(loglevel: int | None = None, **_: Any) -> None:
    """Ours, at the level that somebody asked Celery for; at that of the settings where nobody did."""
    try:
        settings = LogSettings.load()
    except DbError:  # which the start is about to fail of, and to say
        settings = LogSettings()
    context = click.get_current_context(silent=True)
    asked = context is not None and context.get_parameter_source("loglevel") is ParameterSource.COMMANDLINE
    logs.configure(settings, loglevel if asked else None)


@signals.worker_shutting_down.connect
def _told(**_: Any) -> None:
    """At SIGTERM: Celery takes nothing more and waits for what is in hand; we see to it that this ends."""
    if Process.ending is not None:
        Process.ending.begin()


def _stop() -> None:
    for each in Process.beside:
        each.stop()


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    _stop()  # no signal may have said so: Celery also ends by itself, of an error
    for each in Process.beside:
        each.join()
    if Process.exposition is not None:
        Process.exposition.close()
    if Process.service is not None:
        Process.service.close()
