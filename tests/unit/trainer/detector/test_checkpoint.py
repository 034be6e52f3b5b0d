"""One file with the detector in it: the same detector comes back, or a refusal that says what is wrong."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.detector import checkpoint
from trainer.detector.card import KEY, BackboneCard, Card
from trainer.detector.checkpoint import SHIPPED, check_preprocess, file_sha256, load, save
from trainer.detector.embedding import embedding_size
from trainer.detector.model import Detector, Head, build_backbone, count_trainable_parameters
from trainer.detector.weights import weights_sha256
from trainer.errors import CheckpointError
from trainer.pixels.preprocess import FINGERPRINT, SIZE

#: The head's bias before the score, whatever its layers are called.
BIAS = list(Head(1, 1).state_dict())[-1]


@pytest.fixture(scope="module")
def good(small: Detector, card: Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head-only checkpoint of the small detector. Shared: not to be changed."""
    path = tmp_path_factory.mktemp("good") / "checkpoint.safetensors"
    save(small, card, path)
    return path


@pytest.fixture
def rewritten(good: Path, card: Card, tmp_path: Path) -> Callable[..., Path]:
    """Writes the good checkpoint again with other tensors (None leaves one out) or another card."""

    def write(tensors: dict[str, Tensor | None] | None = None, card: Card = card) -> Path:
        path = tmp_path / "rewritten.safetensors"
        state: dict[str, Tensor | None] = {**load_file(good), **(tensors or {})}
        kept = {name: value for name, value in state.items() if value is not None}
        save_file(kept, path, metadata={KEY: card.json_text()})
        return path

    return write


def with_backbone(card: Card, **changes: Any) -> Card:
    return card.model_copy(update={"backbone": card.backbone.model_copy(update=changes)})


def one_picture() -> Tensor:
    return torch.randint(0, 256, (1, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def logit(detector: Detector) -> float:
    with torch.inference_mode():
        return float(detector(one_picture()))


class TestRoundTrip:
    def test_a_head_only_checkpoint_gives_the_same_detector(self, small: Detector, card: Card, good: Path) -> None:
        detector, found = load(good)

        assert found == card
        assert not any(module.training for module in detector.modules())
        assert {name.split(".")[0] for name in load_file(good)} == {"head"}
        assert logit(detector) == logit(small)

    def test_a_self_contained_checkpoint_needs_no_package(self, card: Card, tmp_path: Path) -> None:
        torch.manual_seed(1)
        backbone = build_backbone("efficientnet_b1")  # random weights, which no package and no hub has
        detector = Detector(backbone, Head(1280, 8), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).eval()
        own = BackboneCard(
            name="efficientnet_b1",
            weights="random",
            sha256=weights_sha256(backbone),
            embedding_size=1280,
            mean=(0.1, 0.2, 0.3),
            std=(0.4, 0.5, 0.6),
            included=True,
        )
        path = tmp_path / "own.safetensors"
        save(detector, card.model_copy(update={"backbone": own}), path)

        again, found = load(path)

        assert found.backbone == own
        assert {name.split(".")[0] for name in load_file(path)} == {"backbone", "head"}
        assert weights_sha256(again.backbone) == own.sha256
        assert logit(again) == logit(detector)

    def test_a_detector_that_embeds_on_many_levels_does_so_again(self, card: Card, tmp_path: Path) -> None:
        torch.manual_seed(1)
        backbone = build_backbone("test_efficientnet")
        size, mean, std = embedding_size(backbone, "multilevel"), card.backbone.mean, card.backbone.std
        detector = Detector(backbone, Head(size, 8), mean, std, "multilevel").eval()
        own = {
            "name": "test_efficientnet",
            "sha256": weights_sha256(backbone),
            "embedding_size": size,
            "included": True,
        }
        path = tmp_path / "own.safetensors"
        save(detector, with_backbone(card, **own, embedding="multilevel"), path)

        again, _ = load(path)

        assert again.embedding == "multilevel"
        assert logit(again) == logit(detector)

    @pytest.mark.parametrize("included", [False, True])
    def test_sixteen_bits_are_for_the_head_and_the_backbone_stays_the_one_that_is_named(
        self, included: bool, small: Detector, card: Card, tmp_path: Path
    ) -> None:
        path = tmp_path / "half.safetensors"
        save(small, with_backbone(card, included=included), path, torch.float16)

        detector, _ = load(path)

        stored, loaded = load_file(path), detector.head.state_dict()
        assert weights_sha256(detector.backbone) == card.backbone.sha256
        for name, value in small.head.named_parameters():
            assert stored[f"head.{name}"].dtype == torch.float16
            assert torch.equal(loaded[name], value.half().float()), name

    def test_saving_answers_with_the_files_sha256_and_leaves_nothing_else(
        self, small: Detector, card: Card, tmp_path: Path
    ) -> None:
        path = tmp_path / "c.safetensors"
        path.write_bytes(b"what was here before")

        found = save(small, card, path)

        assert found == hashlib.sha256(path.read_bytes()).hexdigest() == file_sha256(path)
        assert list(tmp_path.iterdir()) == [path]
        assert load(path, found)[1] == card

    def test_the_detector_that_comes_with_this_software_loads(self) -> None:
        detector, card = load(SHIPPED)

        assert card.head.parameters == count_trainable_parameters(detector)
        assert card.quality is not None
        assert card.quality.threshold > 0.5
        assert card.quality.certified
        assert SHIPPED.stat().st_size <= 32 * 1024 * 1024
        assert [file.name for file in SHIPPED.parent.glob("*.safetensors")] == [SHIPPED.name]


class TestRefusedFiles:
    def test_another_file_than_the_registered_one(self, good: Path) -> None:
        with pytest.raises(CheckpointError, match=f"has SHA-256 {file_sha256(good)}, not the registered 0{{64}}"):
            load(good, "0" * 64)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="does not exist"):
            load(tmp_path / "none.safetensors")

    @pytest.mark.parametrize("kept", [0, 7, 100, 1000, -1000, -1])
    def test_a_file_that_was_cut(self, kept: int, good: Path, tmp_path: Path) -> None:
        path = tmp_path / "cut.safetensors"
        path.write_bytes(good.read_bytes()[:kept])

        with pytest.raises(CheckpointError, match=r"cut\.safetensors is not a readable \.safetensors file"):
            load(path)

    def test_a_file_without_a_card(self, small: Detector, tmp_path: Path) -> None:
        path = tmp_path / "bare.safetensors"
        save_file({f"head.{name}": value for name, value in small.head.state_dict().items()}, path)

        with pytest.raises(CheckpointError, match=r"bare\.safetensors has no 'unmask' card"):
            load(path)


class TestRefusedCards:
    @pytest.mark.parametrize(
        ("preprocess", "size"),
        [("unmask-0-512-bicubic", SIZE), (FINGERPRINT, 256), ("", SIZE), (f"{FINGERPRINT} ", SIZE)],
    )
    def test_other_pixels_than_this_software_makes(
        self, preprocess: str, size: int, card: Card, rewritten: Callable[..., Path]
    ) -> None:
        other = card.model_copy(update={"preprocess": preprocess, "input_size": size})
        message = (
            rf"trained on preprocess {preprocess} at {size} pixels; this software makes {FINGERPRINT}-512-.* at {SIZE}"
        )

        with pytest.raises(CheckpointError, match=message):
            load(rewritten(card=other))
        with pytest.raises(CheckpointError, match=f"checkpoint here was {message}"):
            check_preprocess(other, "here")

    def test_another_backbone_than_the_card_names(self, card: Card, rewritten: Callable[..., Path]) -> None:
        path = rewritten(card=with_backbone(card, sha256="f" * 64))

        with pytest.raises(CheckpointError, match=f"backbone has SHA-256 {card.backbone.sha256}, not f{{64}}"):
            load(path)

    @pytest.mark.parametrize("name", ["resnet-fifty", "hf-hub:somebody/something", "local-dir:/tmp", "../x", ""])
    @pytest.mark.parametrize("included", [False, True])
    def test_a_network_that_only_the_card_knows(
        self, included: bool, name: str, card: Card, rewritten: Callable[..., Path]
    ) -> None:
        path = rewritten(card=with_backbone(card, name=name, included=included))

        with pytest.raises(CheckpointError, match=f"backbone {name!r} is not a network that timm knows"):
            load(path)

    def test_a_head_of_another_width(self, card: Card, rewritten: Callable[..., Path]) -> None:
        path = rewritten(card=card.model_copy(update={"head": card.head.model_copy(update={"hidden": 16})}))

        with pytest.raises(CheckpointError, match=r"tensor \S*0\.bias is \(8,\), not \(16,\)"):
            load(path)


class TestRefusedTensors:
    @pytest.mark.parametrize(
        ("tensors", "message"),
        [
            ({"tail.weight": torch.ones(1)}, "tensor tail.weight belongs neither to the backbone nor to the head"),
            ({"header": torch.ones(1)}, "tensor header belongs neither to the backbone nor to the head"),
            ({"head.6.weight": torch.ones(3)}, "tensor 6.weight is (3,), not known"),
            ({f"head.{BIAS}": None}, f"tensor {BIAS} is missing, not (1,)"),
            ({f"head.{BIAS}": torch.ones(2)}, f"tensor {BIAS} is (2,), not (1,)"),
            ({f"head.{BIAS}": torch.tensor([torch.nan])}, f"tensor head.{BIAS} holds values that are not finite"),
            ({f"head.{BIAS}": torch.tensor([-torch.inf])}, f"tensor head.{BIAS} holds values that are not finite"),
            (
                {f"head.{BIAS}": torch.tensor([torch.inf]).half()},
                f"tensor head.{BIAS} holds values that are not finite",
            ),
            ({f"head.{BIAS}": torch.ones(1).to(torch.float8_e4m3fn)}, f"head.{BIAS} has type F8_E4M3, which"),
            ({f"head.{BIAS}": torch.ones(1).to(torch.complex64)}, f"tensor head.{BIAS} has type C64, which"),
            ({"backbone.conv_stem.weight": torch.ones(1)}, "its card says head-only, but it holds 1 backbone tensors"),
        ],
        ids=[
            "of nothing",
            "of nothing, nearly of the head",
            "too many",
            "missing",
            "of another shape",
            "not a number",
            "infinite",
            "infinite in 16 bits",
            "in 8 bits",
            "complex",
            "of a backbone that should not be there",
        ],
    )
    def test_the_tensor_is_named(
        self, tensors: dict[str, Tensor | None], message: str, rewritten: Callable[..., Path]
    ) -> None:
        path = rewritten(tensors)

        with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
            load(path)

        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_self_contained_file_must_hold_the_whole_backbone(
        self, card: Card, rewritten: Callable[..., Path]
    ) -> None:
        path = rewritten(card=with_backbone(card, included=True))

        with pytest.raises(CheckpointError, match=r"its backbone: tensor .* is missing"):
            load(path)

    def test_one_changed_weight_of_the_backbone_is_noticed(
        self, small: Detector, card: Card, rewritten: Callable[..., Path]
    ) -> None:
        state = {f"backbone.{name}": value.clone() for name, value in small.backbone.state_dict().items()}
        state["backbone.conv_stem.weight"][0, 0, 0, 0] += 1e-3

        with pytest.raises(CheckpointError, match=f"its backbone has SHA-256 .*, not {card.backbone.sha256}"):
            load(rewritten(state, with_backbone(card, included=True)))


class TestUntrustedFiles:
    """What a file or its card asks for is known, and refused, before anything of it is loaded."""

    @pytest.fixture(autouse=True)
    def nothing_is_loaded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpoint, "load_file", lambda path: pytest.fail(f"{path} was loaded"))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"name": "vit_gigantic_patch14_clip_224"}, r"its backbone has \d+ parameters .allowed: 500000000"),
            ({"name": "resnet18"}, r"its backbone gives embeddings of size 512, but its card says 1280"),
            ({"embedding": "multilevel"}, r"its backbone gives embeddings of size \d+, but its card says 1280"),
            ({"name": "hf-hub:evil/model"}, "is not a network that timm knows"),
        ],
        ids=["too large", "another network", "another embedding", "not of timm"],
    )
    def test_a_card_with_another_backbone(
        self, changes: dict[str, Any], message: str, card: Card, rewritten: Callable[..., Path]
    ) -> None:
        with pytest.raises(CheckpointError, match=message):
            load(rewritten(card=with_backbone(card, **changes)))

    def test_a_card_with_a_head_of_gigabytes(self, card: Card, rewritten: Callable[..., Path]) -> None:
        huge = card.model_copy(update={"head": card.head.model_copy(update={"hidden": 65_536})})
        with pytest.raises(CheckpointError, match=r"its head has 4\d+ parameters .allowed: 500000000"):
            load(rewritten(card=huge))

    def test_a_counter_where_a_weight_should_be(self, rewritten: Callable[..., Path]) -> None:
        with pytest.raises(CheckpointError, match=f"tensor head.{BIAS} has type I64, which weights may not have"):
            load(rewritten({f"head.{BIAS}": torch.ones(1, dtype=torch.int64)}))

    def test_another_file_than_the_registered_one(self, good: Path) -> None:
        with pytest.raises(CheckpointError, match=r"has SHA-256 .*, not the registered 000"):
            load(good, "0" * 64)


def test_a_head_on_weights_that_its_user_must_bring_names_them_and_fetches_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNMASK_BACKBONES_DIR", str(tmp_path))
    head = SHIPPED.parent / "heads" / "clip-vit-b16-research.safetensors"
    told = Card.read(head).backbone
    assert head.stat().st_size <= 32 * 2**20
    assert (told.included, told.input_size, told.embedding) == (False, 224, "multilevel")
    with pytest.raises(CheckpointError, match="its backbone's weights are missing") as refused:
        load(head)
    assert told.sha256 in str(refused.value)
    assert told.licence in str(refused.value)
