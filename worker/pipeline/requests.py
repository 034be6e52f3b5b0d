"""Does what is asked for: a small photo, a map of where the detector sees its evidence, another score, or a hash."""

import hashlib
import io
import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from db.review import lookalikes
from db.work import requests
from db.work.images import Job
from db.work.requests import Task
from db.policy.scores import record_others
from trainer.errors import Rejected
from worker.pipeline import verdict
from worker.core.errors import FetchError, WorkerError
from worker.photos.looks import looks_of
from worker.pipeline.service import Service

log = logging.getLogger(__name__)

#: A map takes minutes of all cores on a CPU: one at a time.
_one_map = threading.Lock()
#: The next one is asked for again after so many seconds.
_LATER_S = 10.0


def fulfil(service: Service, request_ids: Sequence[int]) -> None:
    """Do these; each request has its own fate, and one that is done is left alone."""

    def begin(_tries: int) -> list[Task]:
        with service.database.writing() as session:
            return requests.begin(session, request_ids, service.settings.lease_s)

    for task in service.outage.outlast(begin):
        fulfil_one(service, task)


def fulfil_one(service: Service, task: Task) -> None:
    """Do what is in hand, or record why it cannot be done."""
    if task.kind == "heatmap" and not _one_map.acquire(blocking=False):
        # Whoever waited for it here would wait instead of scoring uploads.
        service.outage.outlast(lambda _tries: _keep(service, lambda session: requests.later(session, task, _LATER_S)))
        return
    try:
        _fulfil(service, task)
    finally:
        if task.kind == "heatmap":
            _one_map.release()


def _fulfil(service: Service, task: Task) -> None:
    try:
        _check(task, service.settings.max_attempts)
        keep = _work(service, task)
    except Exception as error:
        if not isinstance(error, Rejected | WorkerError):
            log.exception("request %d could not be done", task.id)
        _fail(service, task, error)
    else:
        service.outage.outlast(lambda _tries: _keep(service, keep))


def _check(task: Task, max_attempts: int) -> None:
    """One that was begun too often took its workers with it."""
    if task.attempts > max_attempts:
        raise FetchError("worker_lost", f"no end came of {max_attempts} attempts")


def _work(service: Service, task: Task) -> Callable[[Session], object]:
    """What is to be written in the end. Decoded in the child: who asks a second time may ask for poison."""
    if task.url is None:
        raise FetchError("erased", "its account was erased")
    data = service.fetcher.fetch(task.url)
    if task.kind in _OF_THE_FILE:
        return _OF_THE_FILE[task.kind](service, task, _same(task, data))
    picture = service.isolation.preview(data) if task.kind == "preview" else _heatmap(service, data)
    return lambda session: requests.done(session, task, picture)


def _same(task: Task, data: bytes) -> bytes:
    if task.sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise FetchError("changed", "it is not the file that was scored before")
    return data


def _score(service: Service, task: Task, data: bytes) -> Callable[[Session], None]:
    """By the active model: for the reviewers of an appeal. It flags nothing by itself."""
    model = service.models.pair.active
    score = model.score([service.isolation.decode(data).pixels])[0]

    def keep(session: Session) -> None:
        record_others(session, {task.image_id: score}, model.made_by)
        requests.close(session, task)

    return keep


def _look(service: Service, task: Task, data: bytes) -> Callable[[Session], None]:
    """What it looks like: for the case that a later threshold opened."""
    looks = looks_of(service.isolation.decode(data).pixels)

    def keep(session: Session) -> None:
        if requests.close(session, task):
            lookalikes.keep(session, {task.image_id: looks})

    return keep


#: What is said of the file that was scored, and of no other.
_OF_THE_FILE = {"rescore": _score, "look": _look}


def _heatmap(service: Service, data: bytes) -> bytes:
    from trainer.explain.explain import explain, overlay

    pixels = service.isolation.decode(data).pixels
    explanation = explain(service.models.pair.active.scorer.detector, pixels)
    out = io.BytesIO()
    overlay(pixels, explanation.attribution).save(out, format="PNG")
    return out.getvalue()


def _keep(service: Service, keep: Callable[[Session], object]) -> None:
    with service.database.writing() as session:
        keep(session)


def _fail(service: Service, task: Task, error: Exception) -> None:
    """By the same rules as an image that cannot be scored, but without its patience: somebody is waiting."""
    job = Job(task.image_id, None, task.url, "", attempts=task.attempts, overdue=True)
    failure = verdict.failure(job, error, service.settings)

    def write(_tries: int) -> None:
        with service.database.writing() as session:
            requests.failed(session, task, failure.reason, failure.detail, failure.retry_s)

    service.outage.outlast(write)
