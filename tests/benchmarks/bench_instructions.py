"""Instructions and system calls of an image beside decoding and the forward pass: counted, so that no noise hides them.

A worker and the bare loop score the same photos with a network that is next to nothing. What the worker does while
nothing happens is counted, too, and taken off.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from tests.benchmarks import callgrind, detectors
from tests.benchmarks.contestants import BATCH, Bare, Uploads, bare
from tests.benchmarks.measured import Measured
from tests.benchmarks.stand import Stand, stand

IMAGES, PHOTO_SIZE = 64, (512, 512)
#: The last release's counts.
RELEASED = Path(__file__).with_name("instructions.json")
_IDLE_S = 10.0
_ENVIRONMENT = {"UNMASK_ENGINE": "eager", "OMP_NUM_THREADS": "1", "UNMASK_LEASE_S": "3600"}


def measure() -> list[Measured]:
    """Per image: millions of instructions, and system calls; each beside the last release's."""
    if absent := callgrind.missing():
        click.echo(f"instructions: not counted, {', '.join(absent)} not installed", err=True)
        return []
    with stand(detectors.TINY, PHOTO_SIZE) as place, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        calls = _system_calls(place, folder)
        ours = _instructions(place, folder)
        alone = _bare_instructions(place, folder)
    return [
        *_compared("worker: instructions of an image, by one message each", (ours - alone) / 1e6, "million"),
        *_compared("worker: system calls of an image", calls, "calls"),
    ]


def _instructions(place: Stand, folder: Path) -> float:
    with place.worker(prefix=callgrind.command(folder), **_ENVIRONMENT) as worker:
        return _per_image(place, lambda work: callgrind.instructions(worker.process.pid, folder, work))


def _system_calls(place: Stand, folder: Path) -> float:
    with place.worker(**_ENVIRONMENT) as worker:
        return _per_image(place, lambda work: callgrind.system_calls(worker.process.pid, folder, work))


def _bare_instructions(place: Stand, folder: Path) -> float:
    with bare(place, "eager", prefix=callgrind.command(folder), OMP_NUM_THREADS="1") as loop:
        _scored(loop)  # what is done once a process is no image's cost
        return callgrind.instructions(loop.pid, folder, lambda: _scored(loop)) / IMAGES


def _scored(loop: Bare) -> None:
    loop.cost(IMAGES, BATCH)


def _per_image(place: Stand, count: Callable[[Callable[[], None]], int]) -> float:
    """Counts of an image, without what is counted while nothing happens."""
    uploads = Uploads(place)
    uploads.wait(uploads.many(BATCH))
    idle = count(lambda: time.sleep(_IDLE_S)) / _IDLE_S
    began = time.monotonic()
    found = count(lambda: uploads.wait(uploads.many(IMAGES)))
    return (found - idle * (time.monotonic() - began)) / IMAGES


def _compared(name: str, value: float, unit: str) -> list[Measured]:
    """A count, and how many times the last release's it is."""
    released = json.loads(RELEASED.read_text()).get(name) if RELEASED.exists() else None
    found = [Measured(name, value, unit)]
    if released:
        found.append(Measured(f"{name}: of the last release's", value / released, "times", limit="≤ 1.05"))
    return found
