"""Checks a checkpoint's tensors against the architecture that its card names, before either takes memory.

The architecture is built on torch's "meta" device, where tensors have shapes and no numbers: refusing a card that names
a network of a hundred gigabytes costs nothing.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.detector.card import Card
from trainer.detector.embedding import embedding_size
from trainer.detector.model import Head, build_backbone
from trainer.detector.safetensors_header import TensorInfo
from trainer.errors import WeightsError

#: The most parameters of a backbone, or of a head: 2 GB as float32.
MAX_PARAMETERS = 500_000_000
#: The types in which weights may be stored, and counters.
_WEIGHTS = ("F32", "F16", "BF16")
_COUNTERS = ("I64",)


def check_architecture(card: Card, tensors: Mapping[str, TensorInfo]) -> None:
    """Raise `WeightsError` naming the first difference between the file, its card and the architecture."""
    with torch.device("meta"):
        backbone = _backbone(card)
        head = Head(card.backbone.embedding_size, card.head.layers, card.head.dropout)
    _check_size(head, "head")
    _check_dtypes(tensors)
    stored = _below("backbone.", tensors)
    if stored and not card.backbone.included:
        raise WeightsError(f"its card says head-only, but it holds {len(stored)} backbone tensors")
    if card.backbone.included:
        check_shapes(_shapes(backbone.state_dict()), _shapes(stored), "its backbone")
    check_shapes(_shapes(head.state_dict()), _shapes(_below("head.", tensors)), "its head")


def check_shapes(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Raise `WeightsError` naming the first tensor of ``what`` that differs; training-step counters may be missing."""
    for name in sorted(expected.keys() | given.keys()):
        if name not in given and is_counter(name):
            continue
        if expected.get(name) != given.get(name):
            found, wanted = given.get(name, "missing"), expected.get(name, "known")
            raise WeightsError(f"{what}: tensor {name} is {found}, not {wanted}")


def is_counter(name: str) -> bool:
    """Whether a tensor is BatchNorm's count of training steps, on which no score depends."""
    return name.endswith("num_batches_tracked")


def _backbone(card: Card) -> nn.Module:
    backbone = build_backbone(card.backbone.name)
    _check_size(backbone, "backbone")
    size = embedding_size(backbone, card.backbone.embedding)
    if size != card.backbone.embedding_size:
        raise WeightsError(
            f"its backbone gives embeddings of size {size}, but its card says {card.backbone.embedding_size}"
        )
    return backbone


def _check_size(module: nn.Module, what: str) -> None:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if parameters > MAX_PARAMETERS:
        raise WeightsError(f"its {what} has {parameters} parameters (allowed: {MAX_PARAMETERS})")


def _check_dtypes(tensors: Mapping[str, TensorInfo]) -> None:
    for name, tensor in tensors.items():
        if not name.startswith(("backbone.", "head.")):
            raise WeightsError(f"tensor {name} belongs neither to the backbone nor to the head")
        if tensor.dtype not in (_COUNTERS if is_counter(name) else _WEIGHTS):
            raise WeightsError(f"tensor {name} has type {tensor.dtype}, which weights may not have")


def _below(prefix: str, tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _shapes(tensors: Mapping[str, Tensor | TensorInfo]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}
