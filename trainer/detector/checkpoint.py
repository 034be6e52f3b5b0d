"""One ``.safetensors`` file: the detector's tensors and its card.

Self-contained, or head-only: then the backbone comes from a package or a hub, and must have the card's SHA-256.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.detector import outline
from trainer.detector.card import KEY, Card, header_of
from trainer.errors import CheckpointError, WeightsError
from trainer.detector.model import Detector, Head, build_backbone
from trainer.pixels.preprocess import FINGERPRINT, SIZE
from trainer.detector.weights import check_finite, digest, fill, load_backbone

#: The research model that comes with this software.
SHIPPED = Path(__file__).parents[1] / "pretrained" / "lite1-research.safetensors"


def save(detector: Detector, card: Card, path: Path, dtype: torch.dtype = torch.float32) -> str:
    """Write a checkpoint, atomically; returns the file's SHA-256. The backbone goes in when the card says so.

    ``dtype`` is that of the head's weights: a backbone is stored as it is, or it would not be the one of the card.
    """
    modules = {"head": detector.head} | ({"backbone": detector.backbone} if card.backbone.included else {})
    tensors = {
        f"{prefix}.{name}": (value.to(dtype) if prefix == "head" and _is_weight(name) else value).contiguous()
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }
    part = path.with_name(f".{path.name}.part")
    save_file(tensors, part, metadata={KEY: card.json_text()})
    part.chmod(0o644)  # safetensors makes files that nobody else may read; workers are somebody else
    part.replace(path)
    return file_sha256(path)


def load(path: Path, sha256: str | None = None) -> tuple[Detector, Card]:
    """The detector in a checkpoint, as float32 on the CPU in ``eval`` mode, and its card.

    Raises `CheckpointError` when the file is not a checkpoint, was made for other pixels than this software makes, is
    not the file with ``sha256`` where one is given, or does not fit the architecture that its card names. All of that
    is known from the header: no tensor of a file that does not fit is ever loaded.
    """
    header = header_of(path)
    if sha256 is not None and (found := file_sha256(path)) != sha256:
        raise CheckpointError(f"checkpoint {path} has SHA-256 {found}, not the registered {sha256}")
    card = Card.of(header, path)
    check_preprocess(card, str(path))
    try:
        outline.check(card, header.tensors)
    except WeightsError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    tensors = _tensors(path)
    detector = _empty(card, tensors, path)
    try:
        fill(detector.head, _below("head.", tensors), f"head of checkpoint {path}")
    except WeightsError as error:
        raise CheckpointError(str(error)) from error
    return detector.eval(), card


def _is_weight(name: str) -> bool:
    """What may be stored with 16 bits: weights and biases of layers, but no statistics."""
    return name.endswith((".weight", ".bias"))


def check_preprocess(card: Card, what: str) -> None:
    """Refuse a detector that was trained on other pixels than ``preprocess`` makes."""
    if (card.preprocess, card.input_size) != (FINGERPRINT, SIZE):
        raise CheckpointError(
            f"checkpoint {what} was trained on preprocess {card.preprocess} at {card.input_size} pixels; "
            f"this software makes {FINGERPRINT} at {SIZE}"
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal: the name by which a model version is known."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
        check_finite(tensors, f"checkpoint {path}")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} is not a readable .safetensors file: {error}") from error
    except WeightsError as error:
        raise CheckpointError(str(error)) from error
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _empty(card: Card, tensors: dict[str, Tensor], path: Path) -> Detector:
    """The card's architecture, with its backbone's weights, checked, and an untrained head."""
    try:
        if card.backbone.included:
            backbone = build_backbone(card.backbone.name)
            fill(backbone, _below("backbone.", tensors), f"backbone of checkpoint {path}")
        else:
            backbone = load_backbone(card.backbone.name).backbone
    except WeightsError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    if (found := digest(backbone)) != card.backbone.sha256:
        raise CheckpointError(f"checkpoint {path}: its backbone has SHA-256 {found}, not {card.backbone.sha256}")
    head = Head(card.backbone.embedding_size, card.head.hidden, card.head.dropout)
    return Detector(backbone, head, card.backbone.mean, card.backbone.std, card.backbone.embedding)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
