"""How a GPU runs a detector: the precision, compiled or not, and the batch size, measured once and kept on disk.

A precision is used only while a self-test holds: on generated pictures, scores lie within `TOLERANCE` of those in 32
bits and on the same side of every threshold in force.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.detector.model import Detector
from trainer.detector.scoring_network import COLUMNS
from trainer.files import atomic_write
from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import Pixels
from worker.inference.accelerator import Accelerator
from worker.inference.graph_engine import LANES, GraphEngine, Precision, fitting_engine, network_of

log = logging.getLogger(__name__)

#: Largest difference between a score and the same in 32 bits.
TOLERANCE = 2e-3
#: A smaller batch is preferred when it gives this share of the best images a second: its images wait less.
_AS_GOOD = 0.97
#: Compiling must win this much: it takes a minute at each start of a new release of torch.
_WORTH_COMPILING = 1.1
_SMALLEST_BATCH = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run a detector on a device, and the images a second that it was measured at."""

    precision: Precision
    compiled: bool
    batch: int
    images_per_s: float = 0.0

    @property
    def name(self) -> str:
        """The engine's name, recorded with each score: scores of plans with one name agree."""
        return f"graph-{self.precision}" + "-compiled" * self.compiled


@dataclass(frozen=True, slots=True)
class Tuning:
    """What to measure: batches of at most ``largest``, for at most about ``limit_s``; and the file that keeps the plan.

    ``thresholds`` are those in force. Each measurement takes ``measure_s``.
    """

    largest: int = 128
    thresholds: Sequence[float] = ()
    limit_s: float = 120.0
    measure_s: float = 0.5
    file: Path | None = None
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def for_version(self, sha256: str) -> Self:
        """The same for a checkpoint: its plan lies in a file of its own below ``file``, a folder."""
        return replace(self, file=self.file / f"{sha256}.json" if self.file is not None else None)


def tuned_engine(detector: Detector, accelerator: Accelerator, tuning: Tuning) -> GraphEngine:
    """The engine of the best plan: the one that is kept, if it still passes the self-test, or one measured now."""
    tests = _SelfTest(detector, accelerator, tuning.thresholds)
    kept = _read(tuning, accelerator)
    if kept is not None and (engine := tests.passed(kept)) is not None:
        return engine
    best = _best(tests, tuning)
    _keep(best, tuning, accelerator)
    engine = tests.passed(best) or tests.engine(replace(best, precision="fp32", compiled=False))
    log.info("GPU: %s in batches of %d: %.0f images/s", engine.name, engine.largest, best.images_per_s)
    return engine


class _SelfTest:
    """Compares plans with scores in 32 bits."""

    def __init__(self, detector: Detector, accelerator: Accelerator, thresholds: Sequence[float]) -> None:
        self._detector, self._accelerator, self._thresholds = detector, accelerator, thresholds
        self._pictures = known_pictures()
        self._columns = COLUMNS + detector.keys
        network = network_of(detector, "fp32")
        exact = fitting_engine(network, accelerator, len(self._pictures), "exact", self._columns)
        self._expected = exact.scores(self._pictures)

    def engine(self, plan: Plan) -> GraphEngine:
        """The plan's engine, in smaller batches than planned where the memory is short."""
        network = network_of(self._detector, plan.precision, compiled=plan.compiled)
        return fitting_engine(network, self._accelerator, plan.batch, plan.name, self._columns)

    def passed(self, plan: Plan) -> GraphEngine | None:
        """The plan's engine; None when its scores are not those in 32 bits, or when it cannot be made."""
        try:
            engine = self.engine(plan)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a compiler's: there are plans without one
            log.warning("GPU: %s cannot be used: %s", plan.name, str(error).partition("\n")[0])
            return None
        found = engine.scores(self._pictures)
        if self._agrees(found):
            return engine
        off = float(np.abs(found - self._expected).max())
        log.info("GPU: %s is not used: its scores are off by %.2g (allowed: %g)", plan.name, off, TOLERANCE)
        return None

    def _agrees(self, scores: NDArray[np.float32]) -> bool:
        near = bool((np.abs(scores - self._expected) <= TOLERANCE).all())  # false for what is not a number
        return near and all(((scores >= at) == (self._expected >= at)).all() for at in self._thresholds)


def _best(tests: _SelfTest, tuning: Tuning) -> Plan:
    """The plan with the most images a second; plans that a time limit leaves no time for are not tried."""
    end = tuning.clock() + tuning.limit_s
    whole = Plan("fp32", compiled=False, batch=tuning.largest)
    plain = [found for plan in _plain(whole) if (found := _measured(tests, plan, tuning)) is not None]
    best = max(plain, key=lambda plan: plan.images_per_s, default=whole)
    for smaller in _smaller(best):
        if tuning.clock() >= end:
            return best
        found = _measured(tests, smaller, tuning)
        if found is None or found.images_per_s < _AS_GOOD * best.images_per_s:
            break
        best = found
    if tuning.clock() < end - tuning.limit_s / 2:
        compiled = _measured(tests, replace(best, compiled=True), tuning)
        if compiled is not None and compiled.images_per_s > _WORTH_COMPILING * best.images_per_s:
            return compiled
    return best


def _plain(whole: Plan) -> Iterator[Plan]:
    yield replace(whole, precision="fp16")
    yield replace(whole, precision="bf16")
    yield whole


def _smaller(plan: Plan) -> Iterator[Plan]:
    while plan.batch // 2 >= _SMALLEST_BATCH:
        plan = replace(plan, batch=plan.batch // 2)
        yield plan


def _measured(tests: _SelfTest, plan: Plan, tuning: Tuning) -> Plan | None:
    """The plan with its images a second, in batches that fit; None when it fails the self-test."""
    engine = tests.passed(plan)
    if engine is None:
        return None
    return replace(plan, batch=engine.largest, images_per_s=images_per_s(engine, tuning.measure_s))


def images_per_s(engine: GraphEngine, seconds: float) -> float:
    """Images a second with as many full batches in flight as the engine takes, copies included."""
    pictures: list[Pixels] = (known_pictures() * engine.largest)[: engine.largest]
    begun = time.monotonic()

    def score() -> int:
        done = 0
        while done == 0 or time.monotonic() - begun < seconds:
            done += len(engine.scores(pictures))
        return done

    with ThreadPoolExecutor(LANES) as pool:
        done = sum(future.result() for future in [pool.submit(score) for _ in range(LANES)])
    return done / (time.monotonic() - begun)


def _key(tuning: Tuning, accelerator: Accelerator) -> dict[str, str | int]:
    """What a plan depends on besides the checkpoint."""
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {"device": name, "torch": torch.__version__, "largest": tuning.largest}


def _read(tuning: Tuning, accelerator: Accelerator) -> Plan | None:
    """The plan that was kept for this device, release of torch and largest batch; None for any other file."""
    try:
        text = json.loads(tuning.file.read_text()) if tuning.file is not None else {}
        return Plan(**text["plan"]) if text["for"] == _key(tuning, accelerator) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(plan: Plan, tuning: Tuning, accelerator: Accelerator) -> None:
    if tuning.file is None:
        return
    try:
        tuning.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(tuning.file) as part:
            part.write_text(json.dumps({"for": _key(tuning, accelerator), "plan": asdict(plan)}, indent=1) + "\n")
    except OSError as error:  # the next start measures again
        log.warning("GPU: the measured plan cannot be kept in %s: %s", tuning.file, error.strerror)
