"""An engine is only another way to the same scores, and one that gives others does not serve."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainer.detector.checkpoint import SHIPPED, load
from trainer.detector.model import Detector, Head, build_backbone
from trainer.pixels.preprocess import Pixels, decode
from worker.inference import engines
from worker.inference.engines import Eager, OpenVino
from worker.core.errors import ScoringError, UsageError
from worker.inference.folding import folded

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The detector that comes with the software."""
    return load(SHIPPED)[0]


@pytest.fixture(scope="module")
def pictures(photo: Path) -> list[Pixels]:
    """A real photo, and the pictures of the self-test."""
    return [decode(photo.read_bytes()).pixels, *engines.known_pictures()]


def test_openvino_gives_the_scores_of_pytorch(detector: Detector, pictures: list[Pixels]) -> None:
    expected = Eager(detector, CPU).scores(pictures)

    assert OpenVino(detector).scores(pictures) == pytest.approx(expected, abs=engines.TOLERANCE)
    assert np.ptp(expected) > 100 * engines.TOLERANCE, "pictures that score alike show nothing"


@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_a_score_does_not_depend_on_the_batch(name: engines.Name, detector: Detector, pictures: list[Pixels]) -> None:
    engine = engines.start(name, detector, CPU)

    together = engine.scores(pictures * 2)

    assert together == pytest.approx(np.concatenate([engine.scores([one]) for one in pictures * 2]), abs=1e-5)


def test_on_a_cpu_no_batch_normalisation_is_left_and_the_scores_are_the_same(
    detector: Detector, pictures: list[Pixels]
) -> None:
    expected = Eager(detector, CPU).scores(pictures)

    quicker = folded(detector)

    assert not [module for module in quicker.modules() if isinstance(module, nn.BatchNorm2d)]
    assert Eager(quicker, CPU).scores(pictures) == pytest.approx(expected, abs=1e-5)
    assert [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)], "it is a copy"


def test_b1_is_folded_too_and_scores_the_same(pictures: list[Pixels]) -> None:
    torch.manual_seed(0)
    b1 = Detector(build_backbone("efficientnet_b1"), Head(1280), (0.5,) * 3, (0.25,) * 3)
    expected = Eager(b1, CPU).scores(pictures[:1])

    quicker = folded(b1)

    assert not [module for module in quicker.modules() if isinstance(module, nn.BatchNorm2d)]
    assert Eager(quicker, CPU).scores(pictures[:1]) == pytest.approx(expected, abs=1e-5)


class Backwards(nn.Module):
    """Runs its parts in another order than they are written down in."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(3, 3, 1)
        self.first = nn.BatchNorm2d(3)
        nn.init.uniform_(self.first.weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.second(self.first(pixels) ** 2)
        return mixed.mean((2, 3))


def test_a_network_that_folding_would_change_is_served_as_it_is(
    pictures: list[Pixels], caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    odd = Detector(Backwards(), Head(3), (0.5,) * 3, (0.5,) * 3)

    engine = engines.start("eager", odd, CPU)

    assert engine.scores(pictures).tolist() == Eager(odd, CPU).scores(pictures).tolist()
    assert "batch normalisations are not folded: engine eager-fp32 differs" in caplog.text


def test_an_engine_with_other_scores_is_refused(detector: Detector) -> None:
    torch.manual_seed(1)
    other = Detector(detector.backbone, Head(len(detector.head.scaling.mean)), (0.5,) * 3, (0.5,) * 3, "multilevel")

    with pytest.raises(ScoringError, match=r"engine eager-fp32 differs .* in its self-test, more than 0\.0001"):
        engines.check(Eager(other, CPU), Eager(detector, CPU))


def test_on_a_cpu_openvino_is_the_engine(detector: Detector) -> None:
    assert engines.start("auto", detector, CPU).name == "openvino-fp32"
    assert engines.start("eager", detector, CPU).name == "eager-fp32"


def test_openvino_runs_on_no_gpu(detector: Detector) -> None:
    with pytest.raises(UsageError, match="runs on a CPU, not on meta"):
        engines.start("openvino", detector, torch.device("meta"))


def test_nobody_is_told_that_openvino_starts() -> None:
    program = """
import sys, torch
from trainer.detector.checkpoint import SHIPPED, load
from worker.inference.engines import OpenVino
OpenVino(load(SHIPPED)[0])
print([name for name, module in sys.modules.items() if "openvino_telemetry" in name and module is not None])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
