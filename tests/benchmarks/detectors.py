"""Checkpoints with random weights: their scores mean nothing, and take as long as any."""

from pathlib import Path

import torch

from tests.chaos.detector import HALF, card
from trainer.detector.checkpoint import save
from trainer.detector.embedding import embedding_size
from trainer.detector.model import HIDDEN, Detector, Head, build_backbone

#: The paper's network; and the quickest of timm's test networks, beside which everything else is easy to see.
FULL, TINY = "efficientnet_b1", "test_byobnet"


def make(path: Path, backbone: str) -> Path:
    """Write a checkpoint of that network with the paper's head; the same each time."""
    torch.manual_seed(0)
    network = build_backbone(backbone)
    detector = Detector(network, Head(embedding_size(network), HIDDEN, 0.0), HALF, HALF).eval()
    save(detector, card(detector, backbone, backbone, HIDDEN), path)
    return path
