"""Does what people ask for: a small photo for reviewers, or a map of where the detector sees its evidence."""

import io
import logging
import threading
from collections.abc import Sequence

from db import requests
from db.images import Job
from db.requests import Task
from trainer.errors import Rejected
from worker import verdict
from worker.errors import FetchError, WorkerError
from worker.service import Service

log = logging.getLogger(__name__)

#: A map takes minutes of all cores on a CPU: one at a time.
_one_map = threading.Lock()


def fulfil(service: Service, request_ids: Sequence[int]) -> None:
    """Make these pictures; each request has its own fate, and one that is done is left alone."""

    def begin(_tries: int) -> list[Task]:
        with service.database.writing() as session:
            return requests.begin(session, request_ids, service.settings.lease_s)

    for task in service.outage.outlast(begin):
        _fulfil(service, task)


def _fulfil(service: Service, task: Task) -> None:
    try:
        _check(task, service.settings.max_attempts)
        picture = _picture(service, task)
    except Exception as error:
        if not isinstance(error, Rejected | WorkerError):
            log.exception("request %d could not be done", task.id)
        _fail(service, task, error)
    else:
        service.outage.outlast(lambda _tries: _keep(service, task, picture))


def _check(task: Task, max_attempts: int) -> None:
    """One that was begun too often took its workers with it."""
    if task.attempts > max_attempts:
        raise FetchError("worker_lost", f"no end came of {max_attempts} attempts")


def _picture(service: Service, task: Task) -> bytes:
    """A JPEG of the photo, or a PNG of the map. Decoded in the child: who asks a second time may ask for poison."""
    if task.url is None:
        raise FetchError("erased", "its account was erased")
    data = service.fetcher.fetch(task.url)
    return service.isolation.preview(data) if task.kind == "preview" else _heatmap(service, data)


def _heatmap(service: Service, data: bytes) -> bytes:
    from trainer.explain import explain, overlay

    pixels = service.isolation.decode(data).pixels
    with _one_map:
        explanation = explain(service.scorer.detector, pixels)
    out = io.BytesIO()
    overlay(pixels, explanation.attribution).save(out, format="PNG")
    return out.getvalue()


def _keep(service: Service, task: Task, picture: bytes) -> None:
    with service.database.writing() as session:
        requests.done(session, task, picture)


def _fail(service: Service, task: Task, error: Exception) -> None:
    """By the same rules as an image that cannot be scored, but without its patience: somebody is waiting."""
    job = Job(task.image_id, None, task.url, "", attempts=task.attempts, overdue=True)
    failure = verdict.failure(job, error, service.settings)

    def write(_tries: int) -> None:
        with service.database.writing() as session:
            requests.failed(session, task, failure.reason, failure.detail, failure.retry_s)

    service.outage.outlast(write)
