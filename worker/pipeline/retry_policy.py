"""The retry policy: whether an image that failed is tried again, after which pause, and how often."""

import random

from db.work.images import Failure, LeasedImage
from trainer.errors import Rejected, TrainerError
from worker.core.errors import DecoderError, FetchError, OutOfDomainError
from worker.core.settings import WorkerSettings
from worker.inference.batch_limit import is_out_of_memory

#: The longest pause between attempts.
MAX_PAUSE_S = 3600.0
_MAX_DETAIL = 500


def classify(job: LeasedImage, error: Exception, settings: WorkerSettings) -> Failure:
    """Classify the error of one attempt.

    A failure of the file or its address (not an image, 403) is final. One that may pass by itself (a timeout, a server
    that is down) is retried until the image is overdue, and at least ``max_attempts`` times. A photo that its host does
    not have yet (404, 202) is retried while the upload is fresh. One that is our fault, or kills decoders, is retried
    up to ``max_attempts`` times.
    """
    reason, detail, retried = _kind(job, error, settings)
    retry_s = max(pause_s(job.tries, settings.retry_s), _asked_s(job, error, settings)) if retried else None
    return Failure(job.image_id, reason, _readable(detail), retry_s)


def pause_s(tries: int, first_s: float) -> float:
    """Seconds until the next attempt: doubled each time, and jittered, so that joint failures do not return jointly."""
    doublings = min(max(tries, 1) - 1, 30)
    return min(first_s * 2.0**doublings, MAX_PAUSE_S) * random.uniform(0.75, 1.25)  # noqa: S311


def _asked_s(job: LeasedImage, error: Exception, settings: WorkerSettings) -> float:
    """The pause that the host asks for, within the longest pause and the image's deadline; longer by chance.

    A host asks all for the same pause, and they must not return jointly.
    """
    asked_s = error.retry_after_s if isinstance(error, FetchError) else None
    if asked_s is None or job.overdue:
        return 0.0
    left_s = max(0.0, settings.retry_deadline_s - job.age_s)
    return min(asked_s * random.uniform(1.0, 1.25), MAX_PAUSE_S, left_s)  # noqa: S311


def _kind(job: LeasedImage, error: Exception, settings: WorkerSettings) -> tuple[str, str, bool]:
    """Reason code, detail, and whether to retry."""
    left = job.tries < settings.max_attempts
    match error:
        case _ if _ran_out_of_memory(error):  # the file may be sound
            return "out_of_memory", str(error) or type(error).__name__, left
        case Rejected() | OutOfDomainError():
            return error.reason, str(error), False
        case FetchError():
            fresh = error.not_yet and not job.overdue and job.age_s < settings.upload_grace_s
            return error.reason, error.detail, fresh or (error.transient and (left or not job.overdue))
        case DecoderError():
            return error.reason, error.detail, left
        case TrainerError():  # a heatmap that does not add up, on every attempt
            return "not_explained", str(error), False
    return "internal_error", f"{type(error).__name__}: {error}", left


def _ran_out_of_memory(error: Exception) -> bool:
    return is_out_of_memory(error) or (isinstance(error, Rejected) and isinstance(error.__cause__, MemoryError))


def _readable(detail: str) -> str:
    """Text that every database accepts: no NUL, no lone surrogates."""
    return detail[:_MAX_DETAIL].replace("\0", "").encode(errors="replace").decode()
