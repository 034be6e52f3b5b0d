"""The tasks, thin: check what the message says, hand it to the service, and let the return acknowledge it."""

import logging
import sys
from typing import Any

from celery import signals

from db import images
from db.errors import ConflictError, DbError
from db.images import check_id
from trainer.errors import TrainerError
from worker import transport
from worker.celery import app
from worker.client import new_image, send
from worker.errors import WorkerError
from worker.redaction import RedactingFormatter
from worker.service import Service
from worker.settings import WorkerSettings
from worker.sweeper import Sweeper

log = logging.getLogger(__name__)

#: Ids in one message; more is a mistake or an attack.
MAX_IDS = 1000


class Process:
    """What this worker process runs; empty in any other process that imports the tasks."""

    service: Service | None = None
    sweeper: Sweeper | None = None


@app.task(name="worker.score_images", ignore_result=True)
def score_images(image_ids: list[str]) -> None:
    """Score these images; acknowledged when each has its score or its reason in SQL."""
    _service().score(_checked(image_ids))


@app.task(name="worker.ingest_image", ignore_result=True)
def ingest_image(image_id: str, account_id: str, url: str, policy: str = "default") -> None:
    """Add one image and score it: for senders without a database. Until its row exists nothing protects the message."""
    service = _service()
    try:
        image = new_image(account_id=account_id, url=url, image_id=image_id, policy=policy)
        with service.database.writing() as session:
            images.add(session, [image], service.settings.resend_s)
    except (ConflictError, ValueError) as error:
        log.warning("message refused: %s", error)
    else:
        service.score([image.id])


@signals.worker_init.connect
def _open(**_: Any) -> None:
    """Before anything is taken from the queue; a worker that cannot serve says why in one line and does not start."""
    try:
        settings = WorkerSettings.load()
        transport.serve(app)
        Process.service = Service.open(settings)
    except (DbError, TrainerError, WorkerError) as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(2) from error
    Process.sweeper = Sweeper(app, Process.service.database, send, settings)


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


@signals.worker_shutting_down.connect
def _stop_sweeping(**_: Any) -> None:
    if Process.sweeper is not None:
        Process.sweeper.stop()


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    if Process.sweeper is not None:
        Process.sweeper.join()
    if Process.service is not None:
        Process.service.close()


def _service() -> Service:
    if Process.service is None:
        raise RuntimeError("no worker runs in this process: start one with `unmask worker`")
    return Process.service


def _checked(image_ids: object) -> list[str]:
    """Whoever can write to the broker can call a task: nothing is believed."""
    if not isinstance(image_ids, list) or len(image_ids) > MAX_IDS:
        raise ValueError(f"image_ids must be a list of at most {MAX_IDS} ids")
    return [check_id("image_id", image_id) for image_id in image_ids]
