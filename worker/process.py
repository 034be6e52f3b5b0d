"""This worker process, from Celery's first signal to its last: what it holds, and in which order it begins and ends."""

import atexit
import logging
import sys
from typing import Any

from celery import signals

from db.errors import DbError
from trainer.errors import TrainerError
from worker import transport
from worker.celery import app
from worker.client import send, send_requests
from worker.courier import Courier
from worker.ending import Ending
from worker.errors import WorkerError
from worker.health import Health
from worker.redaction import RedactingFormatter
from worker.rescorer import Rescorer
from worker.service import Service
from worker.settings import WorkerSettings
from worker.sweeper import Senders, Sweeper


class Process:
    """What this worker process runs; empty in any other process that imports the tasks."""

    health: Health | None = None
    service: Service | None = None
    sweeper: Sweeper | None = None
    rescorer: Rescorer | None = None
    courier: Courier | None = None
    ending: Ending | None = None


def service() -> Service:
    """This worker's; raises RuntimeError in a process that is none."""
    if Process.service is None:
        raise RuntimeError("no worker runs in this process: start one with `unmask worker`")
    return Process.service


@signals.worker_init.connect
def _open(**_: Any) -> None:
    """Before anything is taken from the queue; a worker that cannot serve says why in one line and does not start."""
    try:
        settings = WorkerSettings.load()
        transport.serve(app)
        Process.health = Health(settings.run_dir)
        atexit.register(Process.health.remove)
        Process.service = Service.open(settings, _fail)
        Process.courier = Courier(Process.service.database, Process.service.owner, settings)
        Process.courier.listen()  # before anything can be flagged
    except (DbError, TrainerError, WorkerError) as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(2) from error
    _prepare(Process.service, Process.health)


def _prepare(service: Service, health: Health) -> None:
    health.loaded(service.owner)
    Process.ending = Ending(service.let_go, health, service.settings.stop_s)
    senders = Senders(send, send_requests)
    Process.rescorer = Rescorer(service)
    Process.sweeper = Sweeper(app, service.database, service.owner, senders, service.settings)


def _fail(why: str) -> None:
    if Process.ending is not None:
        Process.ending.fail(why)


@signals.setup_logging.connect
def _log(loglevel: int = logging.INFO, **_: Any) -> None:
    """Ours on stderr; of Celery's, not two lines a message."""
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=loglevel, handlers=[handler])
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(max(loglevel, logging.WARNING))


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    if Process.sweeper is not None:
        Process.sweeper.start()
    if Process.service is not None:
        Process.service.models.start()
    if Process.rescorer is not None:
        Process.rescorer.start()
    if Process.courier is not None:
        Process.courier.start()


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """At SIGTERM: Celery takes nothing more and waits for what is in hand; we see to it that this ends."""
    if Process.sweeper is not None:
        Process.sweeper.stop()
    if Process.rescorer is not None:
        Process.rescorer.stop()
    if Process.courier is not None:
        Process.courier.stop()
    if Process.ending is not None:
        Process.ending.begin()


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    if Process.sweeper is not None:
        Process.sweeper.stop()  # no signal may have said so: Celery also ends by itself, of an error
        Process.sweeper.join()
    if Process.rescorer is not None:
        Process.rescorer.join()
    if Process.courier is not None:
        Process.courier.stop()
        Process.courier.join()
    if Process.service is not None:
        Process.service.close()
