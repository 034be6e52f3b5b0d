"""What a GPU does: the forward pass by batch and precision, then workers end to end; one call, two tables.

    python -m tests.benchmarks.gpu                                           # on a machine with CUDA
    python -m tests.benchmarks.gpu --device cpu --backbone test_byobnet --batches 1,2 --workers 1   # that it works

Pixels cross the bus as uint8 from pinned memory, and are normalised on the device. Differences are to scores in 32
bits; "other side" is the share of pictures that lie on the other side of those scores' median.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import torch
from torch import Tensor

from tests.benchmarks import detectors
from tests.benchmarks.contestants import Uploads
from tests.benchmarks.stand import Stand, stand
from trainer.detector.checkpoint import load
from trainer.detector.model import Detector
from trainer.pixels.preprocess import SIZE

Way = Callable[[Tensor], Tensor]

#: Photos as platforms keep them, and how many images a worker process is given.
PHOTO_SIZE, IMAGES = (800, 800), 2_000
_SECONDS, _PICTURES = 3.0, 256


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--backbone", default=detectors.FULL, show_default=True)
@click.option("--batches", default="1,16,32,64,128,256", show_default=True, callback=lambda *given: _numbers(given[2]))
@click.option("--workers", default="1,2,4", show_default=True, callback=lambda *given: _numbers(given[2]))
@click.option("--images", default=IMAGES, show_default=True, help="In line, for each worker process.")
def main(*, device: str, backbone: str, batches: list[int], workers: list[int], images: int) -> None:
    """Measure both."""
    with tempfile.TemporaryDirectory(prefix="unmask-gpu-") as folder:
        detector, _ = load(detectors.make(Path(folder) / "detector.safetensors", backbone))
    best = _forward(detector.eval().to(device), torch.device(device), batches)
    with stand(backbone, PHOTO_SIZE) as place:
        _end_to_end(place, device, max(batches), workers, images, best)


def _forward(detector: Detector, device: torch.device, batches: list[int]) -> float:
    """Prints a line for each way and batch; returns the most images a second."""
    click.echo("| way | batch | images/s | largest difference | other side |\n|---|---|---|---|---|")
    pictures = torch.randint(0, 256, (_PICTURES, SIZE, SIZE, 3), dtype=torch.uint8)
    truth, best = _scores(_plain(detector), pictures, device, max(batches)), 0.0
    for name, way in _ways(detector, device):
        for batch in batches:
            scores = _scores(way, pictures, device, batch)
            rate = _rate(way, pictures[:batch], device)
            other = float(((scores >= truth.median()) != (truth >= truth.median())).float().mean())
            click.echo(f"| {name} | {batch} | {rate:.0f} | {(scores - truth).abs().max():.1e} | {other:.2%} |")
            best = max(best, rate)
    return best


def _ways(detector: Detector, device: torch.device) -> Iterator[tuple[str, Way]]:
    """From the exact one on; the quicker ones only where there is a GPU."""
    torch.backends.cudnn.allow_tf32 = False
    yield "fp32", _plain(detector)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        yield "tf32", _plain(detector)
        detector = detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
        yield "tf32, channels last", _plain(detector)
        half = _half(detector)
        yield "bf16, channels last", half
        yield "bf16, compiled", torch.compile(half)
        yield "bf16, compiled, CUDA graphs", torch.compile(half, mode="reduce-overhead")


def _plain(detector: Detector) -> Way:
    return lambda pixels: torch.sigmoid(detector(pixels).float())


def _half(detector: Detector) -> Way:
    def score(pixels: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return torch.sigmoid(detector(pixels).float())

    return score


@torch.inference_mode()
def _scores(way: Way, pictures: Tensor, device: torch.device, batch: int) -> Tensor:
    return torch.cat([way(part.to(device)).cpu() for part in torch.split(pictures, batch)])


@torch.inference_mode()
def _rate(way: Way, pictures: Tensor, device: torch.device) -> float:
    """Images a second, with their copies to the device; the host waits for the last batch only."""
    pixels, done = pictures.pin_memory() if device.type == "cuda" else pictures, 0
    start = time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        last = way(pixels.to(device, non_blocking=True))
        done += len(pixels)
    last.cpu()
    return done / (time.perf_counter() - start)


def _end_to_end(place: Stand, device: str, batch: int, workers: list[int], images: int, best: float) -> None:
    """Images that are in line, through Valkey and PostgreSQL, by so many worker processes."""
    click.echo(f"\n| workers | images/s | of the best forward pass ({best:.0f}/s) | GPU busy |\n|---|---|---|---|")
    told = {"UNMASK_DEVICE": device, "UNMASK_MAX_BATCH": str(batch), "UNMASK_CONCURRENCY": str(2 * batch)}
    for count in workers:
        with ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(place.worker(**told))
            uploads = Uploads(place)
            uploads.wait(uploads.many(2 * batch * count))  # until each has compiled what it compiles
            with _watched() as busy:
                begun = uploads.now()
                uploads.wait(ids := uploads.many(images * count, per_message=8))
                rate = len(ids) / uploads.seconds(ids, begun)
        click.echo(f"| {count} | {rate:.0f} | {rate / best:.2f} | {busy()} |")


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


def _numbers(given: str) -> list[int]:
    return [int(part) for part in given.split(",")]


if __name__ == "__main__":
    main()
