"""What 8 bits gain: the engines of a CPU on the same pictures in turns, each with one network of that architecture."""

import csv
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tests.benchmarks import detectors, pictures
from tests.benchmarks.measured import Measured, in_turns, ratio
from trainer.detector.checkpoint import load
from trainer.pixels.preprocess import Pixels, decode
from trainer.runs.quantise import FEWEST, QuantisationOptions, quantise_file
from worker.inference.engines import Engine, Name, start_engine

ROUNDS, IMAGES = 9, 8


def measure(backbone: str = detectors.FULL) -> list[Measured]:
    """Forward passes alone, one picture at a time."""
    with TemporaryDirectory(prefix="unmask-bench-") as folder:
        plain = detectors.make(Path(folder) / "plain.safetensors", backbone)
        int8 = _quantised(plain, Path(folder))
        files = sorted((Path(folder) / "photos").iterdir())
        photos = [decode(file.read_bytes()).pixels for file in islice(cycle(files), IMAGES)]
        ours = partial(_seconds, _engine(int8, "openvino"), photos)
        return [
            _gain("openvino in 32 bits", ours, partial(_seconds, _engine(plain, "openvino"), photos), "≤ 0.56"),
            _gain("eager", ours, partial(_seconds, _engine(plain, "eager"), photos), ""),
        ]


def _gain(other: str, ours: Callable[[], float], theirs: Callable[[], float], limit: str) -> Measured:
    pairs = in_turns(ours, theirs, ROUNDS)
    return ratio(f"forward pass in int8, of {other}", pairs, limit, f"int8_of_{other.split(maxsplit=1)[0]}")


def _engine(checkpoint: Path, name: Name) -> Engine:
    return start_engine(name, load(checkpoint)[0], torch.device("cpu"))


def _seconds(engine: Engine, photos: list[Pixels]) -> float:
    begun = time.perf_counter()
    assert np.isfinite(engine.scores(photos)).all()
    return time.perf_counter() - begun


def _quantised(checkpoint: Path, folder: Path) -> Path:
    """Calibrated on a few pictures: how many is a question of scores, and not of speed."""
    pictures.make(folder / "photos", 2 * FEWEST, (512, 512))
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "engine", "split"])
        for number, photo in enumerate(sorted((folder / "photos").iterdir())):
            label = ("real", "camera") if number % 4 < 3 else ("fake", "SG1")
            table.writerow([photo, *label, "train" if number < FEWEST else "eval"])
    out = folder / "int8.safetensors"
    quantise_file(checkpoint, [folder / "manifest.csv"], out, QuantisationOptions("int8", target_fpr=0.1))
    return out
