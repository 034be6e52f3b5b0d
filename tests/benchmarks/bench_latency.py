"""How long one upload waits for its score: on an idle worker, and under load that arrives at random."""

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
from sqlalchemy import text

from tests.benchmarks import detectors
from tests.benchmarks.contestants import Ours, Uploads, bare
from tests.benchmarks.measured import Measured, in_turns, ratio
from tests.benchmarks.stand import PATIENCE_S, Stand, stand

ROUNDS = 25
#: Shares of what the worker can do, and how many images come at each.
LOADS, IMAGES = (0.25, 0.5, 0.9), 200
_CAPACITY_IMAGES = 64
INSERTED = 40
#: Looking takes a core's time from the worker that is looked at: each 2 ms, an image took 10 ms more.
_POLL_S = 0.05

#: On the database's clock, so that looking costs nothing meanwhile.
_LATENCIES = text(
    "SELECT extract(epoch FROM changed_at - created_at) FROM unmask.images WHERE id = ANY(:ids) AND state = 'scored'"
)


def measure() -> list[Measured]:
    """In pairs with the work itself, one image at a time; then percentiles by load (open loop, Poisson)."""
    with stand(detectors.FULL) as place, place.worker() as worker, bare(place, "auto") as loop:
        uploads = Uploads(place)
        inserted = _inserted(place, uploads)
        pairs = in_turns(lambda: _alone_s(place, uploads), lambda: loop.cost(1, batch=1).seconds, ROUNDS)
        capacity = Ours(worker, uploads).cost(_CAPACITY_IMAGES).rate
        loads = [one for load in LOADS for one in _under(place, uploads, load, capacity)]
    ours_ms = 1000 * float(np.median([one for one, _ in pairs]))
    return [
        Measured("latency of one image, idle worker", ours_ms, "ms (median)", key="latency_idle_ms"),
        ratio("the same, of decode and forward pass", pairs, "≤ 1.3", "latency_ratio"),
        *loads,
        inserted,
    ]


def _inserted(place: Stand, uploads: Uploads) -> Measured:
    """Rows that another language inserts, one at a time: nothing but a sweeper sends them."""
    ids = []
    for _ in range(INSERTED):
        ids.append(uploads.row())
        until(lambda: not uploads.pending({ids[-1]}))
    p95_ms = 1000 * float(np.percentile(latencies(place, ids), 95))
    return Measured("a plain INSERT, idle worker, p95", p95_ms, "ms", limit="≤ 2000", key="latency_insert_p95_ms")


def _alone_s(place: Stand, uploads: Uploads) -> float:
    """From the upload's row to its score."""
    image = {uploads.one()}
    until(lambda: not uploads.pending(image))
    return latencies(place, list(image))[0]


def _under(place: Stand, uploads: Uploads, load: float, capacity: float) -> list[Measured]:
    ids = poisson(uploads, load * capacity)
    until(lambda: not uploads.pending(ids))
    found = latencies(place, list(ids))
    return [
        Measured(
            f"latency at {load:.0%} load, p{p}",
            1000 * float(np.percentile(found, p)),
            "ms",
            key=f"latency_{load:.0%}_p{p}_ms".replace("%", ""),
        )
        for p in (50, 95, 99)
    ]


def latencies(place: Stand, ids: Sequence[str]) -> list[float]:
    """Seconds from each row to its score."""
    with place.database.reading() as session:
        return [float(one) for one in session.scalars(_LATENCIES, {"ids": ids})]


def poisson(uploads: Uploads, rate: float) -> set[str]:
    """Uploads at moments that have nothing to do with each other; late ones follow at once."""
    chance = random.Random(0)  # noqa: S311 - the same moments each time are the point
    due, ids = time.perf_counter(), set()
    for _ in range(IMAGES):
        due += chance.expovariate(rate)
        time.sleep(max(0.0, due - time.perf_counter()))
        ids.add(uploads.one())
    return ids


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"no score within {PATIENCE_S:g} s")
        time.sleep(_POLL_S)
