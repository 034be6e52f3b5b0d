"""Work on demand: previews, heatmaps, second scores and perceptual hashes that people or cases ask for."""

import hashlib
import io
import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from db.policy.scores import record_backfill
from db.review import lookalikes
from db.work import on_demand
from db.work.images import LeasedImage
from db.work.on_demand import LeasedRequest
from trainer.errors import Rejected
from worker.core.errors import FetchError, WorkerError
from worker.photos.phash import perceptual_hash
from worker.pipeline import retry_policy
from worker.pipeline.refused import Refused
from worker.pipeline.service import Service

log = logging.getLogger(__name__)

#: A heatmap takes all cores of a CPU for minutes: one at a time.
_one_heatmap = threading.Lock()
#: A heatmap that found another under way comes again after this time.
_LATER_S = 10.0


def fulfil(service: Service, request_ids: Sequence[int]) -> None:
    """Fulfil these requests, each by itself; those that are done are left alone.

    Raises `DatabaseError` when the database refuses a record, after all others are done; and `StoppingError` when this
    worker gave up.
    """

    def begin(_tries: int) -> list[LeasedRequest]:
        with service.database.writing() as session:
            return on_demand.lease_requests(session, request_ids, service.settings.lease_s)

    refused = Refused()
    for task in service.retry_until_up(begin):
        with refused.noted():
            fulfil_one(service, task)
    refused.check()


def fulfil_one(service: Service, task: LeasedRequest) -> None:
    """Fulfil one request that this worker has begun, or record why it cannot; raises as `fulfil` does."""
    if task.kind == "heatmap" and not _one_heatmap.acquire(blocking=False):
        # A thread that waited here could not score uploads meanwhile.
        _write(service, lambda session: on_demand.postpone(session, task, _LATER_S))
        return
    try:
        _fulfil(service, task)
    finally:
        if task.kind == "heatmap":
            _one_heatmap.release()


def _fulfil(service: Service, task: LeasedRequest) -> None:
    try:
        _check(task, service.settings.max_attempts)
        write = _work(service, task)
    except Exception as error:
        if not isinstance(error, Rejected | WorkerError):
            log.exception("request %d (%s) failed", task.id, task.kind)
        _fail(service, task, error)
    else:
        _write(service, write)


def _check(task: LeasedRequest, max_attempts: int) -> None:
    """Refuse a request that was begun too often: it took its workers with it."""
    if task.attempts > max_attempts:
        raise FetchError("worker_lost", f"none of {max_attempts} attempts finished")


def _work(service: Service, task: LeasedRequest) -> Callable[[Session], object]:
    """Do the work; returns what writes its result. Decodes in the sandbox: the photo may be one that kills workers."""
    if task.url is None:
        raise FetchError("erased", "its account was erased")
    data = service.fetcher.fetch(task.url)
    if task.kind in _OF_THE_FILE:
        return _OF_THE_FILE[task.kind](service, task, _unchanged(task, data))
    picture = _PICTURES[task.kind](service, data)
    thumb = service.sandbox.thumb(picture) if task.kind == "preview" else None
    return lambda session: on_demand.store_picture(session, task, picture, thumb)


def _unchanged(task: LeasedRequest, data: bytes) -> bytes:
    if task.sha256 not in (None, hashlib.sha256(data).hexdigest()):
        raise FetchError("changed", "the file is not the one that was scored")
    return data


def _score(service: Service, task: LeasedRequest, data: bytes) -> Callable[[Session], None]:
    """Score by the active model, for the reviewers of an appeal; the score itself raises no flag."""
    model = service.models.pair.active
    score = model.watched.score([service.sandbox.decode(data).pixels])[0]

    def keep(session: Session) -> None:
        record_backfill(session, {task.image_id: score}, model.made_by)
        on_demand.close_request(session, task)

    return keep


def _hash(service: Service, task: LeasedRequest, data: bytes) -> Callable[[Session], None]:
    """Make the perceptual hash of a photo that a later threshold flagged."""
    looks = perceptual_hash(service.sandbox.decode(data).pixels)

    def keep(session: Session) -> None:
        if on_demand.close_request(session, task):
            lookalikes.store_hashes(session, {task.image_id: looks})

    return keep


#: Kinds of work that need the very file that was scored.
_OF_THE_FILE = {"rescore": _score, "look": _hash}


def _heatmap(service: Service, data: bytes) -> bytes:
    from trainer.explain.photo import explain, layer

    pixels = service.sandbox.decode(data).pixels
    explanation = explain(service.models.pair.active.scorer.detector, pixels)
    out = io.BytesIO()
    layer(explanation.attribution).save(out, format="PNG")
    return out.getvalue()


_PICTURES: dict[str, Callable[[Service, bytes], bytes]] = {
    "preview": lambda service, data: service.sandbox.preview(data),
    "original": lambda service, data: service.sandbox.original(data),
    "heatmap": _heatmap,
}


def _write(service: Service, write: Callable[[Session], object]) -> None:
    def attempt(_tries: int) -> None:
        with service.database.writing() as session:
            write(session)

    service.retry_until_up(attempt)


def _fail(service: Service, task: LeasedRequest, error: Exception) -> None:
    """Apply the retry policy of images, but as if overdue: somebody is waiting."""
    job = LeasedImage(task.image_id, None, task.url, "", attempts=task.attempts, overdue=True)
    failure = retry_policy.classify(job, error, service.settings)
    _write(
        service, lambda session: on_demand.fail_request(session, task, failure.reason, failure.detail, failure.retry_s)
    )
