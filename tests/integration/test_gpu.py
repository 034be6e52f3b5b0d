"""What only a CUDA device can show; ``make test-gpu`` on a machine that has one."""

from pathlib import Path

import pytest
import torch

from trainer.checkpoint import SHIPPED
from trainer.preprocess import decode
from worker.scorer import Scorer

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
