"""The detector: a frozen ImageNet backbone that embeds a photo, and the head that scores the embedding.

After Porcile et al., "Finding AI-Generated Faces in the Wild" (CVPR-W 2024): EfficientNet-B1 on 512×512 → 1280 →
two fully connected layers of 2,048 with ReLU → dropout 0.8 → one score (0 real, 1 AI-generated).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor, nn

from trainer.detector.embedding import Embedding, embed_normalised, scaling_matrix
from trainer.detector.runtime_shims import declare_torchvision_operators, keep_memory
from trainer.errors import WeightsError
from trainer.pixels.preprocess import SIZE

#: Width of both hidden layers, and the share of activations dropped before the score (the paper's).
HIDDEN = 2048
DROPOUT = 0.8


class Scaling(nn.Module):
    """(B, D) → (B, D): standardises each feature by its mean and deviation in training; at first the identity."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, D) → (B, D)."""
        return (embedding - self.mean) / self.std


class Head(nn.Module):
    """(B, D) embedding → (B, 1) logit: hidden layers with ReLU, then one score.

    ``hidden`` is the width of two layers, as in the paper, or the width of each; without any the head is linear. The
    paper does not say where its dropout is: here it precedes the score of a head with hidden layers.
    """

    def __init__(self, embedding_size: int, hidden: int | Sequence[int] = HIDDEN, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.widths = (hidden, hidden) if isinstance(hidden, int) else tuple(hidden)
        self.scaling = Scaling(embedding_size)
        sizes = (embedding_size, *self.widths)
        layers = [layer for size, width in pairwise(sizes) for layer in (nn.Linear(size, width), nn.ReLU())]
        drop = [nn.Dropout(dropout)] if self.widths else []
        self.layers = nn.Sequential(*layers, *drop, nn.Linear(sizes[-1], 1))

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, D) → (B, 1)."""
        logits: Tensor = self.layers(self.scaling(embedding))
        return logits


class Detector(nn.Module):
    """Scores photos. Only the head's parameters train; the backbone stays in ``eval`` mode even under `train`.

    ``mean`` and ``std`` come with the backbone's weights and are for pixels scaled to 0..1. ``embedding`` is "last",
    the paper's, or "multilevel" (see `trainer.detector.embedding`). ``input_size`` is the side of the pictures that the
    backbone takes.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        head: Head,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        embedding: Embedding = "last",
        *,
        input_size: int = SIZE,
    ) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(requires_grad=False)
        self.head = head
        self.embedding: Embedding = embedding
        self.input_size = input_size
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("scale", scaling_matrix(input_size), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Train or freeze the head only: BatchNorm statistics of a "frozen" backbone would drift (pytorch #86590)."""
        super().train(mode)
        self.backbone.eval()
        return self

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) uint8 RGB → (B, D) float embeddings.

        The transfer to the device carries bytes; NHWC viewed as NCHW is channels-last, fast for convolutions.
        """
        images = (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std
        if self.scale is not None:
            images = self.scale @ images @ self.scale.T
        return embed_normalised(self.backbone, images, self.embedding)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) uint8 RGB → (B,) logits; ``sigmoid`` of these are the scores."""
        logits: Tensor = self.head(self.embed(pixels))
        return logits.squeeze(1)

    #: How many detectors it is made of, whose own logits `key_readings` gives: 0 where it is one.
    keys = 0

    def key_readings(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `logits_and_features`, and the (`keys`, B) logits of the detectors that it is made of."""
        logits, features = self.logits_and_features(pixels)
        return logits, features, logits.new_empty((0, len(logits)))

    def logits_and_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 512, 512, 3) uint8 RGB → (B,) logits, and the (B, D) standardised embeddings that they are made of."""
        embedding = self.embed(pixels)
        return self.head(embedding).squeeze(1), self.head.scaling(embedding)


def build_backbone(name: str) -> nn.Module:
    """An untrained timm network without classifier: normalised (B, 3, H, W) → (B, D).

    Raises `WeightsError` when timm does not know the name.
    """
    declare_torchvision_operators()
    keep_memory()
    import timm

    if not timm.is_model(name):  # "hf-hub:..." and "local-dir:..." would load from elsewhere
        raise WeightsError(f"backbone {name!r} is not a network that timm knows")
    try:
        backbone: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise WeightsError(f"backbone {name!r} is not a network that timm knows: {error}") from error
    return backbone


def count_trainable_parameters(module: nn.Module) -> int:
    """The number of parameters that training changes."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
