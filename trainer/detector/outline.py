"""A checkpoint's tensors against the architecture that its card names, before memory is given to either.

The architecture is built on torch's "meta" device, where tensors have shapes and no numbers: a card that asks for a
network of a hundred gigabytes costs nothing but its refusal.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.detector.card import Card
from trainer.errors import WeightsError
from trainer.detector.header import TensorOutline
from trainer.detector.model import Head, build_backbone, embedding_size

#: Numbers in a backbone, or in a head: 2 GB of them as float32.
MAX_PARAMETERS = 500_000_000
#: What weights may be stored as, and what counters are.
_WEIGHTS = ("F32", "F16", "BF16")
_COUNTERS = ("I64",)


def check(card: Card, tensors: Mapping[str, TensorOutline]) -> None:
    """Raises `WeightsError` naming the first thing in which file, card and a known architecture disagree."""
    with torch.device("meta"):
        backbone = _backbone(card)
        head = Head(card.backbone.embedding_size, card.head.hidden, card.head.dropout)
    _check_size(head, "head")
    _check_dtypes(tensors)
    stored = _below("backbone.", tensors)
    if stored and not card.backbone.included:
        raise WeightsError(f"it is head-only by its card, but holds {len(stored)} backbone tensors")
    if card.backbone.included:
        check_shapes(_shapes(backbone.state_dict()), _shapes(stored), "its backbone")
    check_shapes(_shapes(head.state_dict()), _shapes(_below("head.", tensors)), "its head")


def check_shapes(expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]], what: str) -> None:
    """Every tensor by name and shape; counters of training steps may be missing."""
    for name in sorted(expected.keys() | given.keys()):
        if name not in given and is_counter(name):
            continue
        if expected.get(name) != given.get(name):
            found, wanted = given.get(name, "missing"), expected.get(name, "known")
            raise WeightsError(f"{what}: tensor {name} is {found}, not {wanted}")


def is_counter(name: str) -> bool:
    """BatchNorm's count of training steps, which no score depends on."""
    return name.endswith("num_batches_tracked")


def _backbone(card: Card) -> nn.Module:
    backbone = build_backbone(card.backbone.name)
    _check_size(backbone, "backbone")
    size = embedding_size(backbone, card.backbone.embedding)
    if size != card.backbone.embedding_size:
        raise WeightsError(f"its backbone gives embeddings of {size}, not the card's {card.backbone.embedding_size}")
    return backbone


def _check_size(module: nn.Module, what: str) -> None:
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if parameters > MAX_PARAMETERS:
        raise WeightsError(f"its {what} has {parameters} parameters (allowed: {MAX_PARAMETERS})")


def _check_dtypes(tensors: Mapping[str, TensorOutline]) -> None:
    for name, tensor in tensors.items():
        if not name.startswith(("backbone.", "head.")):
            raise WeightsError(f"tensor {name} is neither of the backbone nor of the head")
        if tensor.dtype not in (_COUNTERS if is_counter(name) else _WEIGHTS):
            raise WeightsError(f"tensor {name} is of {tensor.dtype}, which weights are not")


def _below(prefix: str, tensors: Mapping[str, TensorOutline]) -> dict[str, TensorOutline]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _shapes(tensors: Mapping[str, Tensor | TensorOutline]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}
