"""Measures a GPU in at most six minutes: forward passes, workers end to end, and training; prints as it goes.

    python -m tests.benchmarks.gpu                # on a machine with CUDA
    python -m tests.benchmarks.gpu --dry-run      # on any machine: that each part of it works

The most wanted figures come first, so that a run that is cut short is worth something; a part for which no time is left
says so. Differences are to scores in 32 bits; "other side" is the share of pictures that lie on the other side of those
scores' median.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from tests.benchmarks import detectors, paper
from tests.benchmarks.contestants import Uploads
from tests.benchmarks.stand import Stand, stand
from tests.unit.worker.inference.late_accelerator import LateAccelerator
from trainer.detector.checkpoint import load
from trainer.detector.model import Detector
from trainer.pixels.preprocess import SIZE, Pixels
from worker.inference.accelerator import Accelerator, CudaAccelerator
from worker.inference.graph_engine import GraphEngine, Precision, fitting_engine, network_of
from worker.inference.tuning import Tuning, images_per_s, tuned_engine

#: Photos as platforms keep them, and how many images a worker process is given.
PHOTO_SIZE, IMAGES = (800, 800), 2_000
#: Seconds that a part needs at least.
_PART_S = 30.0
#: What a dry run does: each part in its smallest form, on a CPU with a device that only looks like a GPU.
DRY = {
    "device": "cpu",
    "backbone": "test_efficientnet",  # the quickest that has blocks to train
    "batches": "1,2",
    "workers": "1",
    "images": 8,
    "pictures": 4,
    "seconds": 0.05,
    "train_images": 16,
    "steps": 4,
    "minutes": 60.0,
}


class Budget:
    """The time that is left."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes

    @property
    def left_s(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def allows(self, part: str) -> bool:
        """Whether a part may begin; says so when it may not."""
        if self.left_s < _PART_S:
            click.echo(f"\n{part}: not measured, {max(0.0, self.left_s):.0f} s are left")
            return False
        click.echo(f"\n## {part}")
        return True


def _make_dry(context: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        context.default_map = DRY


@click.command()
@click.option("--dry-run", is_flag=True, is_eager=True, expose_value=False, callback=_make_dry)
@click.option("--device", default="cuda", show_default=True)
@click.option("--backbone", default=detectors.FULL, show_default=True)
@click.option("--batches", default="128,32,256,64,1", show_default=True, callback=lambda *given: _numbers(given[2]))
@click.option("--workers", default="1,2,4", show_default=True, callback=lambda *given: _numbers(given[2]))
@click.option("--images", default=IMAGES, show_default=True, help="In line, for each worker process.")
@click.option("--pictures", default=256, show_default=True, help="Whose scores are compared.")
@click.option("--seconds", default=1.0, show_default=True, help="Of each measurement of forward passes.")
@click.option("--train-images", default=6_000, show_default=True, help="Pictures to embed.")
@click.option("--steps", default=10_000, show_default=True, help="Steps of the head.")
@click.option("--minutes", default=6.0, show_default=True)
def main(  # noqa: PLR0913 - each is an option
    *,
    device: str,
    backbone: str,
    batches: list[int],
    workers: list[int],
    images: int,
    pictures: int,
    seconds: float,
    train_images: int,
    steps: int,
    minutes: float,
) -> None:
    """Measure all of it."""
    budget = Budget(minutes)
    best, fine = 0.0, []
    if budget.allows("Forward passes"):
        best = _Forward(backbone, torch.device(device), pictures, seconds).measure(batches, budget)
    if budget.allows("End to end: Valkey, decoding, scoring, PostgreSQL"):
        with stand(backbone, PHOTO_SIZE) as place:
            _end_to_end(place, device, max(batches), workers, images, best, budget)
    if budget.allows(f"Training: {train_images} views embedded, {steps} steps of the head"):
        told = {"images": train_images, "steps": steps, "backbone": backbone, "device": device}
        fine.append(_run("tests.benchmarks.paper", *_options(told)))
    with tempfile.TemporaryDirectory(prefix="unmask-gpu-") as folder:
        fit = _fit_words(Path(folder), backbone, device)
        few = ("--steps", min(steps, 100))
        if budget.allows("--unfreeze last:2, 100 steps"):
            fine.append(_run("trainer", *fit, "--unfreeze", "last:2", *few, "--out", f"{folder}/unfrozen"))
        if budget.allows("Two ranks on one device"):
            two = ("torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "trainer")
            fine.append(_run(*two, *fit, *few, "--out", f"{folder}/two", "--cache", f"{folder}/two-cache"))
    sys.exit(0 if all(fine) else 1)


class _Forward:
    """Forward passes of a network with random weights, on a device or on what looks like one."""

    def __init__(self, backbone: str, device: torch.device, pictures: int, seconds: float) -> None:
        self._device, self._seconds = device, seconds
        self._detector, self._pictures = _detector(backbone, device), _pictures(pictures)
        self._accelerator: Accelerator = CudaAccelerator(device) if device.type == "cuda" else LateAccelerator()

    def measure(self, batches: Sequence[int], budget: Budget) -> float:
        """Prints a line for each precision and batch; returns the most images a second."""
        click.echo("| how | batch | images/s | largest difference | other side |\n|---|---|---|---|---|")
        torch.backends.cudnn.allow_tf32 = False
        truth, best = self._engine("fp32", max(batches)).scores(self._pictures), 0.0
        for precision, compiled in _ways(self._device):
            for batch in batches if not compiled else [max(batches)]:
                if budget.left_s < _PART_S:
                    return best
                engine = self._engine(precision, batch, compiled=compiled)
                rate = images_per_s(engine, self._seconds)
                how = f"{precision}{', compiled' * compiled}"
                found = _agreement(engine.scores(self._pictures), truth)
                click.echo(f"| {how} | {engine.largest} | {rate:.0f} | {found} |")
                best = max(best, rate)
        tuning = Tuning(max(batches), limit_s=_PART_S * self._seconds, measure_s=self._seconds / 2)
        chosen = tuned_engine(self._detector, self._accelerator, tuning)
        click.echo(f"\na worker chooses {chosen.name} in batches of {chosen.largest}")
        return best

    def _engine(self, precision: Precision, batch: int, *, compiled: bool = False) -> GraphEngine:
        network = network_of(self._detector, precision, compiled=compiled)
        return fitting_engine(network, self._accelerator, batch, precision)


def _ways(device: torch.device) -> Iterator[tuple[Precision, bool]]:
    yield from (("bf16", False), ("fp16", False), ("fp32", False))
    if device.type == "cuda":
        yield from (("bf16", True), ("fp16", True))


def _detector(backbone: str, device: torch.device) -> Detector:
    with tempfile.TemporaryDirectory(prefix="unmask-gpu-") as folder:
        detector, _ = load(detectors.make(Path(folder) / "detector.safetensors", backbone))
    return detector.eval().to(device)


def _pictures(count: int) -> list[Pixels]:
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(count)]


def _agreement(scores: NDArray[np.float32], truth: NDArray[np.float32]) -> str:
    median = np.median(truth)
    other = float(np.mean((scores >= median) != (truth >= median)))
    return f"{np.abs(scores - truth).max():.1e} | {other:.2%}"


def _end_to_end(
    place: Stand, device: str, batch: int, workers: list[int], images: int, best: float, budget: Budget
) -> None:
    """Images that are in line, through Valkey and PostgreSQL, by so many worker processes."""
    click.echo(f"| workers | images/s | of the best forward pass ({best:.0f}/s) | GPU busy |\n|---|---|---|---|")
    told = {"UNMASK_DEVICE": device, "UNMASK_MAX_BATCH": str(batch), "UNMASK_CONCURRENCY": str(4 * batch)}
    for count in workers:
        if budget.left_s < _PART_S:
            click.echo(f"| {count} | no time left | | |")
            continue
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(place.worker(**told))
            uploads = Uploads(place)
            uploads.wait(uploads.many(2 * batch * count))
            with _watched() as busy:
                begun = uploads.now()
                uploads.wait(ids := uploads.many(images * count, per_message=8))
                rate = len(ids) / uploads.seconds(ids, begun)
        click.echo(f"| {count} | {rate:.0f} | {rate / best if best else 0:.2f} | {busy()} |")


@contextmanager
def _watched() -> Iterator[Callable[[], str]]:
    """How busy the GPU is by its own account, on average; "?" where nobody says so."""
    with tempfile.TemporaryFile("w+") as said, ExitStack() as stack:
        if command := shutil.which("nvidia-smi"):
            asked = [command, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
            process = stack.enter_context(subprocess.Popen(asked, stdout=said))
            stack.callback(process.terminate)
        values: list[int] = []
        yield lambda: f"{sum(values) / len(values):.0f} %" if values else "?"
        said.seek(0)
        values += [int(line) for line in said.read().split() if line.isdigit()]


def _fit_words(folder: Path, backbone: str, device: str) -> list[object]:
    """The words of a fit on a few pictures with weights made on the spot."""
    manifest, weights = paper.make_material(folder, 64, backbone)
    words: list[object] = ["fit", "--manifest", manifest, "--weights", weights, "--backbone", backbone]
    return [*words, "--device", device, "--cache", folder / "cache", "--accept-shortcut", "--quiet"]


def _options(told: dict[str, object]) -> list[object]:
    return [word for name, value in told.items() for word in (f"--{name}", value)]


def _run(module: str, *words: object) -> bool:
    """Run a module's command; says how long it took, or how it failed. Whether it succeeded."""
    begun = time.monotonic()
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    click.echo(done.stdout.strip() if done.returncode == 0 else f"failed: {done.stderr.strip()[-1000:]}")
    click.echo(f"{time.monotonic() - begun:.1f} s, start included")
    return done.returncode == 0


def _numbers(given: str) -> list[int]:
    return [int(part) for part in given.split(",")]


if __name__ == "__main__":
    main()
