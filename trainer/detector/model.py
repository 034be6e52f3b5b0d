"""The detector: a frozen ImageNet backbone that embeds a photo, and the head that scores the embedding.

After Porcile et al., "Finding AI-Generated Faces in the Wild" (CVPR-W 2024): EfficientNet-B1 on 512×512 → 1280 →
two fully connected layers of 2,048 with ReLU → dropout 0.8 → one score (0 real, 1 AI-generated).
"""

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from trainer.detector.allocator import keep_memory
from trainer.errors import WeightsError
from trainer.detector.operators import declare_missing
from trainer.pixels.preprocess import SIZE

#: Width of both hidden layers, and the share of activations dropped before the score (the paper's).
HIDDEN = 2048
DROPOUT = 0.8

Embedding = Literal["last", "multilevel"]

#: Keeps the slope of a standard deviation finite where a map is flat.
_VARIANCE_FLOOR = 1e-8


class Scaling(nn.Module):
    """(B, D) → (B, D): each feature moved and scaled to what it was on average in training; at first the identity."""

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
    """(B, D) embedding → (B, 1) logit. The paper does not say where the dropout sits: here, before the score."""

    def __init__(self, embedding_size: int, hidden: int = HIDDEN, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.scaling = Scaling(embedding_size)
        self.layers = nn.Sequential(
            nn.Linear(embedding_size, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, D) → (B, 1)."""
        logits: Tensor = self.layers(self.scaling(embedding))
        return logits


class Detector(nn.Module):
    """Scores photos. Only the head has parameters that train; the backbone stays in ``eval`` mode, whatever is asked.

    ``mean`` and ``std`` are those that the backbone's weights came with, for pixels scaled to 0..1. ``embedding`` is
    "last", the paper's, or "multilevel" (see `multilevel`).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: Head,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        embedding: Embedding = "last",
    ) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(requires_grad=False)
        self.head = head
        self.embedding: Embedding = embedding
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Train or freeze the head. BatchNorm statistics of a "frozen" backbone drift otherwise (pytorch #86590)."""
        super().train(mode)
        self.backbone.eval()
        return self

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) uint8 RGB → (B, D) float embeddings.

        The bus to the device carries bytes; NHWC seen as NCHW is the channels-last layout that convolutions like.
        """
        images = (pixels.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std
        return embed_normalised(self.backbone, images, self.embedding)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) uint8 RGB → (B,) logits; ``sigmoid`` of these are the scores."""
        logits: Tensor = self.head(self.embed(pixels)).squeeze(1)
        return logits


def embed_normalised(backbone: nn.Module, images: Tensor, embedding: Embedding) -> Tensor:
    """Normalised (B, 3, H, W) → (B, D)."""
    if embedding == "multilevel":
        return multilevel(backbone, images)
    last: Tensor = backbone(images)
    return last


def multilevel(backbone: nn.Module, images: Tensor) -> Tensor:
    """Mean and standard deviation of the stem's and every block's map, and not of what comes after them.

    The early maps carry what the last embedding has thrown away: noise, edges, upsampling's traces. They come with the
    same forward pass, less its last convolution. Raises `WeightsError` for networks other than EfficientNets.
    """
    if not all(hasattr(backbone, name) for name in ("conv_stem", "bn1", "blocks")):
        raise WeightsError(f"{type(backbone).__name__} has no blocks as EfficientNets have: use --embedding last")
    parts: Any = backbone
    maps = parts.bn1(parts.conv_stem(images))
    moments = _moments(maps)
    for block in parts.blocks:
        maps = block(maps)
        moments += _moments(maps)
    return torch.cat(moments, dim=1)


def _moments(maps: Tensor) -> list[Tensor]:
    """(B, C, H, W) → the mean and the standard deviation of each channel, (B, C) both."""
    variance, mean = torch.var_mean(maps.float(), dim=(2, 3), correction=0)
    return [mean, torch.sqrt(variance + _VARIANCE_FLOOR)]


def build_backbone(name: str) -> nn.Module:
    """An untrained timm network without its classifier: normalised (B, 3, H, W) → (B, D)."""
    declare_missing()
    keep_memory()
    import timm

    if not timm.is_model(name):  # "hf-hub:..." and "local-dir:..." would go and look elsewhere
        raise WeightsError(f"backbone {name!r} is not a network that timm knows")
    try:
        backbone: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    except RuntimeError as error:
        raise WeightsError(f"backbone {name!r} is not a network that timm knows: {error}") from error
    return backbone


def embedding_size(backbone: nn.Module, embedding: Embedding = "last") -> int:
    """Length D of a network's embedding, by asking it; refuses networks that give none at 512×512."""
    backbone.eval()
    try:
        with torch.inference_mode():
            shape = tuple(embed_normalised(backbone, torch.zeros(1, 3, SIZE, SIZE), embedding).shape)
    except (RuntimeError, AssertionError) as error:
        raise WeightsError(f"{type(backbone).__name__} does not take {SIZE}x{SIZE} pictures: {error}") from error
    match shape:
        case (1, size):
            return size
    raise WeightsError(f"{type(backbone).__name__} gives {shape}, not one embedding a picture")


def trainable_parameters(module: nn.Module) -> int:
    """How many numbers the fit may change."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
