"""An engine is only another way to the same scores, and one that gives others does not serve."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainer.detector.checkpoint import SHIPPED, load
from trainer.detector.fusion import FusedDetector, fuse_scores
from trainer.detector.model import Detector, Head, build_backbone
from trainer.detector.scoring_network import COLUMNS, NetworkFiles, converted
from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import Pixels, decode
from worker.core.errors import ScoringError, UsageError
from worker.inference import engines, network_cache
from worker.inference.engines import Eager, Engine, fuse_batchnorm
from worker.inference.network_cache import KeptNetwork, NetworkCache

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detector() -> Detector:
    """The detector that comes with the software."""
    return load(SHIPPED)[0]


@pytest.fixture(scope="module")
def pictures(photo: Path) -> list[Pixels]:
    """A real photo, and the pictures of the self-test."""
    return [decode(photo.read_bytes()).pixels, *known_pictures()]


@pytest.fixture(scope="module")
def openvino(detector: Detector) -> Engine:
    """What "auto" is on a CPU; compiled once, for that takes seconds."""
    return engines.start_engine("auto", detector, CPU)


def test_openvino_gives_the_scores_of_pytorch(openvino: Engine, detector: Detector, pictures: list[Pixels]) -> None:
    expected = Eager(detector, CPU).scores(pictures)

    assert openvino.scores(pictures) == pytest.approx(expected, abs=engines.TOLERANCE)
    assert np.ptp(expected) > 100 * engines.TOLERANCE, "pictures that score alike show nothing"


def test_openvino_gives_the_projections_of_pytorch(
    openvino: Engine, detector: Detector, pictures: list[Pixels]
) -> None:
    expected = Eager(detector, CPU).outputs(pictures)[:, 1:]

    assert openvino.outputs(pictures)[:, 1:] == pytest.approx(expected, abs=1 / 64), "half a step of its bytes"
    assert np.ptp(expected) > 1, "numbers that are alike show nothing"


@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_a_score_does_not_depend_on_the_batch(
    name: engines.Name, openvino: Engine, detector: Detector, pictures: list[Pixels]
) -> None:
    engine = openvino if name == "openvino" else engines.start_engine(name, detector, CPU)

    together = engine.scores(pictures * 2)

    assert together == pytest.approx(np.concatenate([engine.scores([one]) for one in pictures * 2]), abs=1e-5)


def test_on_a_cpu_no_batch_normalisation_is_left_and_the_scores_are_the_same(
    detector: Detector, pictures: list[Pixels]
) -> None:
    expected = Eager(detector, CPU).scores(pictures)

    quicker = fuse_batchnorm(detector)

    assert not [module for module in quicker.modules() if isinstance(module, nn.BatchNorm2d)]
    assert Eager(quicker, CPU).scores(pictures) == pytest.approx(expected, abs=1e-5)
    assert [module for module in detector.modules() if isinstance(module, nn.BatchNorm2d)], "it is a copy"


def test_b1_is_folded_too_and_scores_the_same(pictures: list[Pixels]) -> None:
    torch.manual_seed(0)
    b1 = Detector(build_backbone("efficientnet_b1"), Head(1280), (0.5,) * 3, (0.25,) * 3)
    expected = Eager(b1, CPU).scores(pictures[:1])

    quicker = fuse_batchnorm(b1)

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

    engine = engines.start_engine("eager", odd, CPU)

    assert engine.scores(pictures).tolist() == Eager(odd, CPU).scores(pictures).tolist()
    assert "runs without fused batch normalisations: engine eager-fp32 differs" in caplog.text


def test_an_engine_with_other_scores_is_refused(detector: Detector) -> None:
    torch.manual_seed(1)
    other = Detector(detector.backbone, Head(len(detector.head.scaling.mean)), (0.5,) * 3, (0.5,) * 3, "multilevel")

    with pytest.raises(ScoringError, match=r"engine eager-fp32 differs .* in its self-test, more than 0\.0001"):
        engines.check_engine(Eager(other, CPU), Eager(detector, CPU))


def test_on_a_cpu_openvino_is_the_engine(openvino: Engine, detector: Detector) -> None:
    assert openvino.name == "openvino-fp32"
    assert engines.start_engine("eager", detector, CPU).name == "eager-fp32"


def test_openvino_runs_on_no_gpu(detector: Detector) -> None:
    with pytest.raises(UsageError, match="runs on a CPU, not on meta"):
        engines.start_engine("openvino", detector, torch.device("meta"))


@pytest.mark.slow
def test_nobody_is_told_that_openvino_starts() -> None:
    program = """
import sys, torch
from trainer.detector.checkpoint import SHIPPED, load
from trainer.detector.scoring_network import OpenVinoNetwork, converted
OpenVinoNetwork(converted(load(SHIPPED)[0]))
print([name for name, module in sys.modules.items() if "openvino_telemetry" in name and module is not None])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eager", "openvino"])
def test_two_fused_detectors_run_in_every_engine(
    name: engines.Name, tiny_checkpoint: Path, other_checkpoint: Path, pictures: list[Pixels]
) -> None:
    first, second = load(tiny_checkpoint)[0], load(other_checkpoint)[0]
    scales = torch.tensor([[-1.0, 1.0], [-1.5, 0.5]])
    engine = engines.start_engine(name, FusedDetector(first, second, scales), CPU)
    alone = torch.from_numpy(np.stack([Eager(key, CPU).scores(pictures) for key in (first, second)]))
    assert engine.scores(pictures) == pytest.approx(np.asarray(fuse_scores(alone, scales)), abs=engines.TOLERANCE)
    assert pytest.approx(np.asarray(alone), abs=engines.TOLERANCE) == engine.outputs(pictures)[:, COLUMNS:].T


@pytest.mark.slow
def test_a_converted_network_is_kept_and_serves_the_next_start_with_the_same_scores(
    tiny_checkpoint: Path, pictures: list[Pixels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, _ = load(tiny_checkpoint)
    cache = NetworkCache.below(tmp_path / "networks", "0" * 64)
    first = engines.start_engine("openvino", detector, CPU, cache=cache)

    monkeypatch.setattr(engines, "converted", lambda _: pytest.fail("converted again"))
    again = engines.start_engine("openvino", detector, CPU, cache=cache)

    assert again.name == first.name
    assert again.scores(pictures).tolist() == first.scores(pictures).tolist()


@pytest.mark.slow
def test_a_kept_network_that_is_another_s_or_broken_is_not_used(
    tiny_checkpoint: Path, other_checkpoint: Path, tmp_path: Path
) -> None:
    ours, theirs = (load(path)[0] for path in (tiny_checkpoint, other_checkpoint))
    expected = Eager(ours, CPU).scores(known_pictures())
    cache = NetworkCache(tmp_path / "kept.safetensors")
    assert np.abs(Eager(theirs, CPU).scores(known_pictures()) - expected).max() > 2 * engines.TOLERANCE
    for files in (NetworkFiles.of(converted(theirs)), NetworkFiles(b"<net/>", b"x")):
        cache.keep(KeptNetwork(files, expected))

        engine = engines.start_engine("openvino", ours, CPU, cache=cache)

        kept = cache.read()
        assert kept is not None
        assert kept.files != files  # it was converted again
        assert engine.scores(known_pictures()) == pytest.approx(expected, abs=engines.TOLERANCE)


def test_what_other_releases_kept_and_what_is_no_such_file_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = NetworkCache(tmp_path / "kept.safetensors")
    assert cache.read() is None
    cache.keep(KeptNetwork(NetworkFiles(b"xml", b"weights"), np.zeros(3, np.float32)))
    found = cache.read()
    assert found is not None
    assert (found.files.xml, found.files.weights, found.known_scores.tolist()) == (b"xml", b"weights", [0, 0, 0])
    monkeypatch.setattr(network_cache, "version", lambda _: "0.0")
    network_cache.made_by.cache_clear()
    assert cache.read() is None
    network_cache.made_by.cache_clear()
    (tmp_path / "kept.safetensors").write_bytes(b"no safetensors")
    assert cache.read() is None


def test_a_models_folder_that_cannot_be_written_costs_only_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    cache = NetworkCache(tmp_path / "file" / "kept.safetensors")
    cache.keep(KeptNetwork(NetworkFiles(b"xml", b"weights"), np.zeros(3, np.float32)))
    assert "cannot be kept" in caplog.text
    assert cache.read() is None
