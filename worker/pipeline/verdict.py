"""What becomes of an image that could not be scored: over at once, or tried again, how long, and how often."""

import random

from db.work.images import Failure, Job
from trainer.errors import Rejected, TrainerError
from worker.core.errors import DecoderError, FetchError, OutOfDomainError
from worker.core.settings import WorkerSettings

#: No pause between tries is longer.
MAX_PAUSE_S = 3600.0
_MAX_DETAIL = 500


def failure(job: Job, error: Exception, settings: WorkerSettings) -> Failure:
    """The verdict on one try.

    What the file or its address says (not an image, 404) stands. What may pass by itself (a timeout, a server that is
    down) is tried until it is overdue, and ``max_attempts`` times at least. What is wrong here, or kills decoders, is
    tried ``max_attempts`` times.
    """
    reason, detail, retried = _kind(job, error, settings)
    retry_s = pause_s(job.tries, settings.retry_s) if retried else None
    return Failure(job.image_id, reason, _readable(detail), retry_s, isinstance(error, OutOfDomainError))


def pause_s(tries: int, first_s: float) -> float:
    """Doubled with each try, and spread, so that what failed together does not come back together."""
    doublings = min(max(tries, 1) - 1, 30)
    return min(first_s * 2.0**doublings, MAX_PAUSE_S) * random.uniform(0.75, 1.25)  # noqa: S311


def _kind(job: Job, error: Exception, settings: WorkerSettings) -> tuple[str, str, bool]:
    """Code, sentence, and whether it is tried again."""
    left = job.tries < settings.max_attempts
    match error:
        case Rejected() if isinstance(error.__cause__, MemoryError):  # says nothing about the file
            return "out_of_memory", str(error), left
        case Rejected() | OutOfDomainError():
            return error.reason, str(error), False
        case FetchError():
            return error.reason, error.detail, error.transient and (left or not job.overdue)
        case DecoderError():
            return error.reason, error.detail, left
        case TrainerError():  # a map that does not add up, on every try
            return "not_explained", str(error), False
    return "internal_error", f"{type(error).__name__}: {error}", left


def _readable(detail: str) -> str:
    """Text that every database takes: no NUL, no half characters."""
    return detail[:_MAX_DETAIL].replace("\0", "").encode(errors="replace").decode()
