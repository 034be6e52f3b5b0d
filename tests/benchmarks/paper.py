"""The paper's whole training, timed: 60,000 JPEGs of 800×800, embedded once, then 10,000 steps at batch 32.

    python -m tests.benchmarks.paper
    python -m tests.benchmarks.paper --images 40 --steps 20     # shows that it runs, anywhere

One process, one device. Pictures and backbone weights are made on the spot: neither changes how long anything takes.
The clock runs from reading the manifest to the fitted head, as it does for ``python -m trainer fit``. What bounds the
embedding is told by the two things that it does, each measured alone: decoding, and the forward pass.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from safetensors.torch import save_file

from tests.benchmarks import pictures
from trainer.data.manifest import Example, read_manifest
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector.model import Detector, build_backbone
from trainer.detector.weights import load_backbone
from trainer.distributed import ranks
from trainer.distributed.process import cores
from trainer.distributed.ranks import Ranks
from trainer.fitting.embed import CPU_BATCH, CUDA_BATCH, Embedder, copy_one_behind, decode_ahead, sources_of
from trainer.fitting.head import LabelledEmbeddings, fit_head
from trainer.fitting.loop import Recipe
from trainer.fitting.snapshot import Snapshot
from trainer.pixels.preprocess import SIZE
from trainer.runs.fit import new_detector

#: Batches by which decoding and the forward pass are measured alone.
_ALONE = 20


class Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the block's time."""
        start = time.perf_counter()
        yield
        self.stages[stage] = time.perf_counter() - start


@click.command()
@click.option("--images", type=click.IntRange(8), default=60_000, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--backbone", default="efficientnet_b1", show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(images: int, steps: int, backbone: str, device: str) -> None:
    """Time the paper's training on pictures made on the spot; JSON on stdout."""
    with ranks.join_ranks(device) as place, TemporaryDirectory() as folder:
        clock = Clock()
        with clock.time("make pictures (not counted)"):
            manifest, weights = make_material(Path(folder), images, backbone)
        examples, detector = _train(manifest, weights, backbone, steps, place, clock)
        alone = _alone(detector, examples, place)
    click.echo(json.dumps(_told(clock, alone, images, place), indent=1))


def make_material(folder: Path, images: int, backbone: str) -> tuple[Path, Path]:
    """A manifest of pictures and a backbone's weights, both made on the spot."""
    paths = pictures.make(folder / "pictures", images)
    rows = [f"{path},{'fake' if number % 2 else 'real'}" for number, path in enumerate(paths)]
    (folder / "manifest.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    save_file(build_backbone(backbone).state_dict(), folder / "weights.safetensors")
    return folder / "manifest.csv", folder / "weights.safetensors"


def _train(
    path: Path, weights: Path, backbone: str, steps: int, place: Ranks, clock: Clock
) -> tuple[list[Example], Detector]:
    """What ``fit`` does, stage by stage."""
    with clock.time("read and check the manifest"):
        examples = read_manifest(path).split("train")
    with clock.time("look for shortcuts"):
        ShortcutOptions(accept_shortcut=True).check(examples)
    with clock.time("load the backbone"):
        detector = new_detector(load_backbone(backbone, str(weights)), "last")
        embedder, sources = Embedder(detector, path.parent / "cache", place), sources_of(examples)
    with clock.time("embed"):
        embedder.fill(sources, "train")
    with clock.time("gather"):
        embeddings = embedder.gather(sources, path.parent / "rows.npy")
    labels = torch.tensor([float(example.fake) for example in examples]).to(place.device)
    with clock.time("fit"):
        data, snapshot = LabelledEmbeddings(embeddings, labels), Snapshot(path.parent / "state", "benchmark")
        _, progress = fit_head(data, Recipe(steps=steps), snapshot)
        progress.losses.cpu()  # CUDA has done when it can answer
    return examples, detector


def _alone(detector: Detector, examples: list[Example], place: Ranks) -> dict[str, float]:
    """Images a second of decoding, and of the forward pass, with nothing beside it."""
    batch = CUDA_BATCH if place.device.type == "cuda" else CPU_BATCH
    sources = sources_of(examples)[: _ALONE * batch]
    clock = Clock()
    with clock.time("decode"):
        for _ in decode_ahead(sources, batch):
            pass
    pixels = torch.zeros((batch, SIZE, SIZE, 3), dtype=torch.uint8, device=place.device)
    with torch.inference_mode(), clock.time("forward"):
        passes = sum(1 for _ in copy_one_behind(detector.embed(pixels) for _ in range(_ALONE)))
    return {"decode": len(sources) / clock.stages["decode"], "forward": passes * batch / clock.stages["forward"]}


def _told(clock: Clock, alone: dict[str, float], images: int, place: Ranks) -> dict[str, object]:
    counted = {stage: seconds for stage, seconds in clock.stages.items() if "not counted" not in stage}
    device = torch.cuda.get_device_name(place.device) if place.device.type == "cuda" else "CPU"
    return {
        "device": f"{device}, {cores()} cores",
        "images": images,
        "seconds": {stage: round(seconds, 2) for stage, seconds in clock.stages.items()},
        "total_seconds": round(sum(counted.values()), 2),
        "embedded_images_per_second": round(images / clock.stages["embed"], 1),
        "alone_images_per_second": {what: round(rate, 1) for what, rate in alone.items()},
        "bound_by": min(alone, key=lambda what: alone[what]),
    }


if __name__ == "__main__":
    main()
