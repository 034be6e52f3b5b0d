"""ONNX files: they score as PyTorch does, in batches of any size, and carry the card."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.embedding import Embedding, embedding_size
from trainer.detector.model import Detector, Head, build_backbone
from trainer.detector.weights import load_backbone, weights_sha256
from trainer.errors import TrainerError
from trainer.pixels.preprocess import SIZE
from trainer.runs import export
from trainer.runs.export import TOLERANCE, export_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

#: A backbone of timm's own tests: 0.1 million parameters.
TINY = "test_efficientnet"


def saved(folder: Path, card: Card, embedding: Embedding) -> tuple[Path, Detector]:
    """A checkpoint with the tiny backbone and random weights, and its detector."""
    torch.manual_seed(0)
    save_file(build_backbone(TINY).state_dict(), folder / "tiny.safetensors")
    backbone = load_backbone(TINY, str(folder / "tiny.safetensors"))
    size = embedding_size(backbone.backbone, embedding)
    detector = Detector(backbone.backbone, Head(size, 8), backbone.mean, backbone.std, embedding).eval()
    told = {"name": TINY, "sha256": weights_sha256(backbone.backbone), "embedding": embedding, "embedding_size": size}
    normal = {"mean": backbone.mean, "std": backbone.std, "included": True}
    card = card.model_copy(update={"backbone": card.backbone.model_copy(update=told | normal)})
    checkpoint.save(detector, card, folder / "c.safetensors")
    return folder / "c.safetensors", detector


@pytest.mark.slow
@pytest.mark.parametrize("embedding", ["last", "multilevel"])
def test_the_file_scores_as_pytorch_does_and_carries_the_card(embedding: Embedding, card: Card, tmp_path: Path) -> None:
    onnx: Any = pytest.importorskip("onnx")
    path, detector = saved(tmp_path, card, embedding)

    difference = export_onnx(path, tmp_path / "d.onnx")

    assert difference <= TOLERANCE
    scores = export.onnx_runtime(tmp_path / "d.onnx")
    for count in (1, 4):
        pixels = np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
        with torch.inference_mode():
            expected = torch.sigmoid(detector(torch.from_numpy(pixels))).tolist()
        assert scores(pixels).tolist() == pytest.approx(expected, abs=TOLERANCE)
    model = onnx.load(tmp_path / "d.onnx")
    assert {entry.key: entry.value for entry in model.metadata_props}["unmask"] == Card.read(path).json_text()
    assert [each.name for each in (*model.graph.input, *model.graph.output)] == ["pixels", "scores"]


@pytest.mark.slow
def test_a_file_whose_scores_differ_is_not_written(card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = saved(tmp_path, card, "last")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)

    with pytest.raises(TrainerError, match=r"the ONNX file's scores differ by .* from PyTorch's \(-1 allowed\)"):
        export_onnx(path, tmp_path / "d.onnx")

    assert not list(tmp_path.glob("*.onnx*"))


def test_a_folder_that_is_not_there_is_named(card: Card, tmp_path: Path) -> None:
    path, _ = saved(tmp_path, card, "last")

    with pytest.raises(TrainerError, match=r"folder \S*none for the ONNX file does not exist"):
        export_onnx(path, tmp_path / "none" / "d.onnx")
