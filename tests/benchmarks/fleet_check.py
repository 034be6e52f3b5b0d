"""The simulation of a fleet beside the real thing: one worker, uploads at random, and a pause in the middle.

What the worker can do, and how long one image takes alone, are measured first. Then the simulation gets the moments at
which uploads really came.
"""

import random
import signal
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from sqlalchemy import text

from tests.benchmarks import detectors
from tests.benchmarks.bench_latency import latencies, until
from tests.benchmarks.contestants import Ours, Uploads
from tests.benchmarks.fleet import Crew, Fleet, Incident, Kind, Outcome, simulate
from tests.benchmarks.stand import Stand, stand

#: The share of what the worker can do that uploads ask of it; for how long; and the pause, as if it was lost.
LOAD, SECONDS, PAUSE_AT_S, PAUSE_S = 0.5, 120.0, 40.0, 20.0
_CAPACITY_IMAGES, _ALONE, _STEP_S = 96, 10, 0.05
_PERCENTILES = (0.5, 0.95, 0.99)
_TIMES = text("SELECT created_at FROM unmask.images WHERE id = ANY(:ids) ORDER BY created_at")


def check_here(backbone: str = detectors.FULL, seconds: float = SECONDS) -> str:
    """A table: what was measured, and what the simulation says."""
    with stand(backbone) as place, place.worker() as worker:
        uploads = Uploads(place)
        ours = Ours(worker, uploads)
        ours.cost(_CAPACITY_IMAGES // 4)
        rates, alone = [ours.cost(_CAPACITY_IMAGES).rate], _alone_s(place, uploads)
        ids, begun, paused = _under_load(uploads, worker.process, LOAD * rates[0], seconds)
        until(lambda: not uploads.pending(set(ids)))
        found, arrivals = latencies(place, ids), _arrivals(place, ids, begun, seconds)
        rates.append(ours.cost(_CAPACITY_IMAGES).rate)
    outcome = _simulated(arrivals, float(np.mean(rates)), alone, paused)
    return table(found, outcome, rates, alone)


def table(found: Sequence[float], outcome: Outcome, rates: Sequence[float], alone: float) -> str:
    """Percentiles, measured and simulated."""
    told = f"{len(found)} images; the worker did {rates[0]:.1f} images/s before and {rates[1]:.1f} after; alone an "
    told += f"image took {alone:.2f} s"
    lines = [
        f"| p{100 * share:.0f} | {float(np.quantile(found, share)):.2f} | {outcome.waited(share):.2f} |"
        for share in _PERCENTILES
    ]
    return "\n".join([told, "", "| time to a score, s | measured | simulated |", "|---|---|---|", *lines])


def _alone_s(place: Stand, uploads: Uploads) -> float:
    ids = []
    for _ in range(_ALONE):
        ids.append(uploads.one())
        until(lambda: not uploads.pending({ids[-1]}))
    return float(np.median(latencies(place, ids)))


def _under_load(
    uploads: Uploads, process: "subprocess.Popen[bytes]", rate: float, seconds: float
) -> tuple[list[str], datetime, tuple[float, float]]:
    """Uploads at random for so long; the ids, the record's time at the beginning, and when the worker was stopped."""
    chance, begun, ids, paused = random.Random(0), uploads.now(), [], [0.0, 0.0]  # noqa: S311 - not a secret
    start = time.monotonic()
    pause, resume = PAUSE_AT_S * seconds / SECONDS, (PAUSE_AT_S + PAUSE_S) * seconds / SECONDS
    at = 0.0
    while (at := at + chance.expovariate(rate)) < seconds:
        for number, (when, what) in enumerate(((pause, signal.SIGSTOP), (resume, signal.SIGCONT))):
            if at >= when and not paused[number]:
                time.sleep(max(0.0, start + when - time.monotonic()))
                process.send_signal(what)
                paused[number] = time.monotonic() - start
        time.sleep(max(0.0, start + at - time.monotonic()))
        ids.append(uploads.one())
    process.send_signal(signal.SIGCONT)
    return ids, begun, (paused[0], paused[1])


def _arrivals(place: Stand, ids: Sequence[str], begun: datetime, seconds: float) -> np.ndarray:
    with place.database.reading() as session:
        times = [(at - begun).total_seconds() for at in session.scalars(_TIMES, {"ids": list(ids)})]
    steps = np.arange(0, max(seconds, *times) * 4, _STEP_S)  # time to catch up
    return np.histogram(times, [*steps, np.inf])[0].astype(np.float64)


def _simulated(arrivals: np.ndarray, rate: float, alone: float, paused: tuple[float, float]) -> Outcome:
    kind = Kind("this machine", rate, alone, start_s=0, held=0, hour=0)
    incident = Incident("a pause", at_s=round(paused[0], 2), outage_s=round(paused[1] - paused[0], 2))
    return simulate(Fleet(kind, rate), arrivals, incident, _STEP_S, Crew(1))
