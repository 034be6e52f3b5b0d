"""What only a CUDA device can show; ``make test-gpu`` on a machine that has one."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from trainer.cli import root
from trainer.detector.checkpoint import SHIPPED
from trainer.detector.model import build_backbone
from trainer.pixels.preprocess import decode
from worker.inference.scorer import Scorer

#: A backbone of timm's own tests: 0.1 million parameters.
TINY = "test_efficientnet"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_a_worker_takes_the_gpu_by_itself() -> None:
    assert Scorer.open(SHIPPED).device.type == "cuda"


@pytest.mark.parametrize("count", [1, 16, 64])
def test_scores_on_the_gpu_are_those_of_the_cpu(count: int, photo: Path) -> None:
    pixels = decode(photo.read_bytes()).pixels
    alone = Scorer.open(SHIPPED, "cpu").score([pixels])[0]

    scores = Scorer.open(SHIPPED, "cuda").score([pixels] * count)

    assert scores == pytest.approx([alone] * count, abs=2e-3)


@pytest.fixture
def faces(tmp_path: Path) -> Iterator[Path]:
    """A folder with a manifest of eight pictures of noise, half of them fakes, and weights for the tiny backbone.

    A fit hears SIGTERM from then on; the tests' own process does not.
    """
    before = signal.getsignal(signal.SIGTERM)
    rows = ["path,label"]
    for number in range(8):
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3))
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'fake' if number % 2 else 'real'}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    save_file(build_backbone(TINY).state_dict(), tmp_path / "tiny.safetensors")
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def test_the_last_block_learns_on_the_gpu(faces: Path) -> None:
    files = ["--manifest", f"{faces}/manifest.csv", "--weights", f"{faces}/tiny.safetensors", "--out", f"{faces}/out"]
    recipe = ["--backbone", TINY, "--unfreeze", "last:1", "--steps", "2", "--batch", "4", "--device", "cuda"]

    done = CliRunner().invoke(
        root, ["fit", *files, *recipe, "--cache", f"{faces}/cache", "--accept-shortcut"], catch_exceptions=False
    )

    assert done.exit_code == 0, done.output
    before, after = load_file(faces / "tiny.safetensors"), load_file(faces / "out" / "checkpoint.safetensors")
    assert any(not torch.equal(value, after[f"backbone.{name}"]) for name, value in before.items())
