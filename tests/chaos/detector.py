"""A real checkpoint that is quick: a tiny network of timm's with random weights, and what it says of the pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from trainer.detector.card import BackboneCard, Card, DataCard, HeadCard, TrainingCard
from trainer.detector.card_results import Reference
from trainer.detector.checkpoint import save
from trainer.detector.embedding import embedding_size
from trainer.detector.model import Detector, Head, build_backbone, count_trainable_parameters
from trainer.detector.weights import weights_sha256
from trainer.pixels.preprocess import FINGERPRINT, SIZE, Pixels, decode
from worker.inference.scorer import Scorer

#: The quickest of timm's test networks at 512×512 pixels: 14 ms an image on one core.
BACKBONE = "test_byobnet"
_HIDDEN = 16
#: Scores of real photos in its card, spread evenly: so a promotion can carry thresholds, at nearly their value.
_REALS = 10_000
HALF = (0.5, 0.5, 0.5)
#: How far the logits of the pictures lie apart: far enough that a score of another picture is noticed.
_SPREAD = 1.5


def make(path: Path, pictures: dict[str, bytes], seed: int) -> dict[str, float]:
    """Write a checkpoint, the same for the same seed; returns the score of each picture."""
    torch.manual_seed(seed)
    backbone = build_backbone(BACKBONE)
    detector = Detector(backbone, Head(embedding_size(backbone), _HIDDEN, 0.0), HALF, HALF).eval()
    pixels = {name: decode(data).pixels for name, data in pictures.items()}
    _spread(detector, list(pixels.values()))
    reals = Reference(name="chaos", scores=[number / _REALS for number in range(_REALS + 1)])
    save(detector, card(detector, "chaos", BACKBONE, _HIDDEN).model_copy(update={"reference": reals}), path)
    scorer = Scorer.open(path, "cpu", engine="eager")
    return {name: scorer.score([each])[0] for name, each in pixels.items()}


def _spread(detector: Detector, pixels: Sequence[Pixels]) -> None:
    """Move and scale the last layer, so that as many scores lie above 0.5 as below, and none on it."""
    last = detector.head.layers[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        logits = torch.cat([detector(torch.from_numpy(each.copy())[None]) for each in pixels])
        scale = _SPREAD / logits.std()
        middle = logits.sort().values[len(pixels) // 2 - 1 : len(pixels) // 2 + 1].mean()
        last.weight *= scale
        last.bias.sub_(middle).mul_(scale)


def card(detector: Detector, name: str, backbone: str, hidden: int) -> Card:
    """What a checkpoint with random weights says of itself."""
    return Card(
        name=name,
        created="2026-01-01T00:00:00+00:00",
        input_size=SIZE,
        preprocess=FINGERPRINT,
        interpolation="bilinear",
        backbone=BackboneCard(
            name=backbone,
            weights="random",
            sha256=weights_sha256(detector.backbone),
            embedding_size=embedding_size(detector.backbone),
            mean=HALF,
            std=HALF,
            included=True,
        ),
        head=HeadCard(hidden=hidden, dropout=0.0, parameters=count_trainable_parameters(detector)),
        training=TrainingCard(
            steps=0, batch=1, learning_rate=1.0, optimizer="none", loss="none", seed=0, final_loss=0.0
        ),
        data=DataCard(name="none", manifest_sha256="0" * 64, counts={}, licence="CC0"),
        versions={"torch": torch.__version__},
        licence="CC0",
        intended_use="tests",
    )
