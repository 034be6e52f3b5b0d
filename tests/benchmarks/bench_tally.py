"""What metrics and the log cost an image, beside the work that they tell of."""

import io
import time

from db.work.images import Job
from db.policy.scores import Provenance, Scored
from db.models.versions import Served
from tests.benchmarks.measured import Measured
from worker.telemetry import logs
from worker.inference.models import Loaded, Pair
from worker.pipeline.outcome import Done, Ended
from worker.core.settings import LogSettings
from worker.pipeline.stages import Stages
from worker.pipeline.tally import Tally

_IMAGES = 20_000
_ROUNDS = 7


def measure() -> list[Measured]:
    """The least of several rounds, of which the machine disturbed the others more."""
    logs.configure(LogSettings(log_format="json"), stream=io.StringIO())
    costs = [_round() for _ in range(_ROUNDS)]
    return [Measured("metrics and log, an image", min(costs) * 1e6, "µs", min(costs) * 1e6, max(costs) * 1e6, "20 µs")]


def _round() -> float:
    """Seconds an image, of the thread that does it: its stages timed, its counters and its share of lines."""
    pair, tally = Pair(_loaded()), Tally(LogSettings().log_images_per_s)
    begun = time.thread_time()
    for _ in range(_IMAGES // 100):
        tally.add([_ended(pair) for _ in range(100)])
    return (time.thread_time() - begun) / _IMAGES


def _ended(pair: Pair) -> Ended:
    job = Job("image", "account", "a.jpg", "default", 1, age_s=0.3, waited_s=0.1)
    stages = Stages(job.age_s, job.waited_s)
    stages.start()
    for stage in ("fetch", "decode", "forward"):
        with stages.timed(stage):
            pass
    return Ended(job, Done(Scored(job.image_id, job.policy, 0.03, "f" * 64, 1, 2, 3), pair), stages)


def _loaded() -> Loaded:
    """A version as it is in memory, without the network, which nothing here asks for."""
    absent = None
    return Loaded(Served(1, "lite1", "f" * 64), absent, absent, Provenance(1, "eager-fp32", "cpu"))  # type: ignore[arg-type]  # as said
