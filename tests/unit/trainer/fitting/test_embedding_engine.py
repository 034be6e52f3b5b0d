"""OpenVINO embeds as PyTorch does or not at all, and the cache knows which of them it was."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from trainer.detector.checkpoint import file_sha256
from trainer.detector.model import Detector, Head
from trainer.distributed.ranks import Ranks
from trainer.errors import TrainerError
from trainer.fitting.cache import Embeddings
from trainer.fitting.embed import Embedder, Source
from trainer.fitting.embedding_engine import VARIABLE, is_openvino_chosen

ALONE = Ranks(0, 1, torch.device("cpu"))

Embed = Callable[[nn.Module], Embeddings]


class Small(nn.Module):
    """A convolution and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg: dict[str, str] = {}
        torch.manual_seed(0)
        self.filters = nn.Conv2d(3, 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.filters(images)).mean(dim=(2, 3))


class Branching(Small):
    """What it computes depends on numbers: it has no single graph."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if images.mean() > -1e9 else images.mean(dim=(2, 3))


class Random(Small):
    """Two passes of one picture differ."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.rand(1, 8)


@pytest.fixture
def embed(tmp_path: Path) -> Embed:
    """``embed(backbone)``: its embeddings of four pictures, through a cache in ``tmp_path``."""
    paths = [tmp_path / f"{level}.png" for level in range(4)]
    for level, path in enumerate(paths):
        pixels = np.random.default_rng(level).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    sources = [Source(path, file_sha256(path)) for path in paths]

    def rows(backbone: nn.Module) -> Embeddings:
        detector = Detector(backbone, Head(8, 1), (0.5,) * 3, (0.5,) * 3)
        return np.array(Embedder(detector, tmp_path / "cache", ALONE).embed(sources, tmp_path / "rows.npy", "test"))

    return rows


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "openvino")


def folders(root: Path) -> list[bool]:
    """For each folder of the cache that has embeddings: whether OpenVINO made them."""
    made = sorted((root / "cache").glob("*/made-by.txt"))
    return [path.read_text().endswith("openvino\n") for path in made if list(path.parent.glob("*.keys"))]


def test_openvino_gives_pytorchs_embeddings_in_a_cache_of_its_own(
    embed: Embed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_torch = embed(Small())
    monkeypatch.setenv(VARIABLE, "openvino")
    by_openvino = embed(Small())
    np.testing.assert_allclose(by_openvino, by_torch, rtol=1e-4, atol=1e-6)
    assert sorted(folders(tmp_path)) == [False, True]


@pytest.mark.usefixtures("openvino")
def test_the_converted_network_is_kept_and_its_bits_are_the_same(embed: Embed, tmp_path: Path) -> None:
    first = embed(Small())
    (network,) = (tmp_path / "cache").glob("*/network.xml")
    made = network.stat().st_mtime_ns
    for segment in network.parent.glob("*.keys"):
        segment.unlink()
    np.testing.assert_array_equal(embed(Small()), first)
    assert network.stat().st_mtime_ns == made


@pytest.mark.usefixtures("openvino")
def test_a_kept_network_that_is_damaged_is_made_again(embed: Embed, tmp_path: Path) -> None:
    first = embed(Small())
    (network,) = (tmp_path / "cache").glob("*/network.xml")
    for segment in network.parent.glob("*.keys"):
        segment.unlink()
    network.write_bytes(network.read_bytes()[:100])
    np.testing.assert_array_equal(embed(Small()), first)


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("kind", [Branching, Random])
def test_what_openvino_cannot_embed_pytorch_does(
    embed: Embed, tmp_path: Path, kind: type[nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert embed(kind()).shape == (4, 8)
    assert "PyTorch embeds the pictures: OpenVINO" in caplog.text
    assert folders(tmp_path) == [False]


@pytest.mark.parametrize(
    ("word", "device", "chosen"),
    [("auto", "cuda", False), ("auto", "cpu", True), ("torch", "cpu", False), ("openvino", "cpu", True)],
)
def test_the_engine_is_the_one_that_was_named(
    monkeypatch: pytest.MonkeyPatch, word: str, device: str, *, chosen: bool
) -> None:
    monkeypatch.setenv(VARIABLE, word)
    assert is_openvino_chosen(torch.device(device)) is chosen


@pytest.mark.parametrize(
    ("word", "device", "said"),
    [("onnx", "cpu", "UNMASK_EMBEDDING_ENGINE is 'onnx', not one of auto"), ("openvino", "cuda", "runs on a CPU")],
)
def test_an_engine_that_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, word: str, device: str, said: str
) -> None:
    monkeypatch.setenv(VARIABLE, word)
    with pytest.raises(TrainerError, match=said):
        is_openvino_chosen(torch.device(device))
