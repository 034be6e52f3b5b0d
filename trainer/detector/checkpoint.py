"""One ``.safetensors`` file: the detector's tensors and its card.

It is self-contained, or head-only: then the backbone comes from a package or a hub and must have the card's SHA-256.
Two detectors in one, and int8 networks, refer to the files of the detectors that they were made of.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainer.detector import architecture_check
from trainer.detector.card import KEY, Card, header_of
from trainer.detector.embedding import input_fingerprint
from trainer.detector.fusion import FusedDetector
from trainer.detector.model import Detector, Head, build_backbone
from trainer.detector.scoring_network import NetworkFiles, QuantisedDetector
from trainer.detector.weights import (
    BACKBONES_DIR,
    brought_weights,
    check_finite,
    load_backbone,
    load_tensors,
    weights_sha256,
)
from trainer.errors import CheckpointError, WeightsError
from trainer.files import atomic_write
from trainer.pixels.preprocess import FINGERPRINT, SIZE

#: The research model that comes with this software.
SHIPPED = Path(__file__).parents[1] / "pretrained" / "lite1-research.safetensors"


def save(detector: Detector, card: Card, path: Path, dtype: torch.dtype = torch.float32) -> str:
    """Write a checkpoint atomically; returns the file's SHA-256. It holds the backbone when the card says so.

    ``dtype`` is that of the head's weights; a backbone is stored unchanged, because the card has its digest.
    """
    modules = {"head": detector.head} | ({"backbone": detector.backbone} if card.backbone.included else {})
    tensors = {
        f"{prefix}.{name}": (value.to(dtype) if prefix == "head" and _is_weight(name) else value).contiguous()
        for prefix, module in modules.items()
        for name, value in module.state_dict().items()
    }
    with atomic_write(path) as part:
        save_file(tensors, part, metadata={KEY: card.json_text()})
        part.chmod(0o644)  # safetensors makes files that only their owner may read; workers run as another user
    return file_sha256(path)


def load(path: Path, sha256: str | None = None) -> tuple[Detector, Card]:
    """The detector in a checkpoint, as float32 on the CPU in ``eval`` mode, and its card.

    Raises `CheckpointError` when the file is not a checkpoint, was made with another preprocess fingerprint, does not
    have the given ``sha256``, or does not fit the architecture that its card names. The header tells all of that: no
    tensor of a file that does not fit is ever loaded.
    """
    header = header_of(path)
    if sha256 is not None and (found := file_sha256(path)) != sha256:
        raise CheckpointError(f"checkpoint {path} has SHA-256 {found}, not the registered {sha256}")
    card = Card.of(header, path)
    check_preprocess(card, str(path))
    if card.fusion is not None:
        return _load_fused(card, path), card
    if card.quantised is not None:
        return _load_quantised(card, path), card
    try:
        architecture_check.check_architecture(card, header.tensors)
    except WeightsError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error
    tensors = _tensors(path)
    detector = _empty(card, tensors, path)
    try:
        load_tensors(detector.head, _below("head.", tensors), f"head of checkpoint {path}")
    except WeightsError as error:
        raise CheckpointError(str(error)) from error
    return detector.eval(), card


def save_fused(detector: FusedDetector, card: Card, path: Path) -> str:
    """Write the checkpoint of two detectors, which refers to their files; returns its SHA-256."""
    with atomic_write(path) as part:
        save_file({"head.scales": detector.scales.cpu().contiguous()}, part, metadata={KEY: card.json_text()})
        part.chmod(0o644)
    return file_sha256(path)


def save_quantised(detector: QuantisedDetector, card: Card, path: Path) -> str:
    """Write the checkpoint of an int8 network, which refers to the file of its origin; returns its SHA-256."""
    parts = {"xml": detector.files.xml, "weights": detector.files.weights}
    stored = {f"head.int8.{name}": torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in parts.items()}
    with atomic_write(path) as part:
        tensors = stored | {"head.int8.known_scores": detector.known_scores.cpu().contiguous()}
        save_file(tensors, part, metadata={KEY: card.json_text()})
        part.chmod(0o644)
    return file_sha256(path)


def key_files(path: Path, card: Card) -> list[Path]:
    """The files to which the checkpoint of two detectors, or of an int8 network, refers; empty for all others."""
    return [path.parent / f"{key.sha256}.safetensors" for key in card.keys]


def _load_fused(card: Card, path: Path) -> FusedDetector:
    """Both detectors, each checked by its digest. Raises `CheckpointError` as `load` does, and for keys of keys."""
    first, second = (_load_key(file, path) for file in key_files(path, card))
    try:
        return FusedDetector(first, second, _tensors(path).get("head.scales", torch.empty(0))).eval()
    except WeightsError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from error


def _load_quantised(card: Card, path: Path) -> QuantisedDetector:
    """The int8 network and its origin, checked by its digest. Raises `CheckpointError` as `load` does."""
    (file,) = key_files(path, card)
    origin, tensors = _load_key(file, path), _tensors(path)
    try:
        xml, weights = (tensors[f"head.int8.{name}"].numpy().tobytes() for name in ("xml", "weights"))
        return QuantisedDetector(origin, NetworkFiles(xml, weights), tensors["head.int8.known_scores"]).eval()
    except KeyError as error:
        raise CheckpointError(f"checkpoint {path} of an int8 network has no tensor {error}") from error


def _load_key(file: Path, path: Path) -> Detector:
    if not file.is_file():
        raise CheckpointError(f"checkpoint {path} needs {file.name} in its folder, {file.parent}: it is missing")
    told = Card.read(file)
    if told.fusion is not None:
        raise CheckpointError(f"checkpoint {path}: {file.name} has two keys itself")
    if told.quantised is not None:
        raise CheckpointError(f"checkpoint {path}: {file.name} is an int8 network itself")
    detector, _ = load(file, file.stem)
    return detector


def _is_weight(name: str) -> bool:
    """Whether a tensor may be stored in 16 bits: weights and biases of layers, but no statistics."""
    return name.endswith((".weight", ".bias"))


def check_preprocess(card: Card, what: str) -> None:
    """Raise `CheckpointError` for a detector that was trained with another preprocess fingerprint or input size.

    Cards of older releases name the pixels alone, without the network's scaling and normalisation.
    """
    told = card.backbone
    ours = input_fingerprint(told.input_size, told.mean, told.std)
    if card.input_size != SIZE or card.preprocess not in (ours, FINGERPRINT):
        raise CheckpointError(
            f"checkpoint {what} was trained on preprocess {card.preprocess} at {card.input_size} pixels; "
            f"this software makes {ours} at {SIZE}"
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
    """The card's architecture with its backbone's weights, their digest checked, and an untrained head."""
    try:
        if card.backbone.included:
            backbone = build_backbone(card.backbone.name)
            load_tensors(backbone, _below("backbone.", tensors), f"backbone of checkpoint {path}")
        else:
            backbone = load_backbone(card.backbone.name, _brought(card, path)).backbone
    except WeightsError as error:
        raise CheckpointError(f"checkpoint {path}: {error}{_how_to_bring(card)}") from error
    if (found := weights_sha256(backbone)) != card.backbone.sha256:
        raise CheckpointError(
            f"checkpoint {path}: its backbone has SHA-256 {found}, not {card.backbone.sha256}{_how_to_bring(card)}"
        )
    head = Head(card.backbone.embedding_size, card.head.layers, card.head.dropout)
    told = card.backbone
    return Detector(backbone, head, told.mean, told.std, told.embedding, input_size=told.input_size)


def _brought(card: Card, path: Path) -> str | None:
    """The file that the user brought; None where a package or a hub has the weights."""
    file = brought_weights(card.backbone.sha256, path)
    if file is None and card.backbone.weights.endswith(".safetensors"):
        raise WeightsError("its backbone's weights are missing")
    return file


def _how_to_bring(card: Card) -> str:
    """What the user of a head-only checkpoint must do; nothing where the checkpoint should have held the backbone."""
    told = card.backbone
    if told.included:
        return ""
    return (
        f". It holds the head alone. Put the weights {told.weights} of {told.name} (licence: {told.licence}) into "
        f"{BACKBONES_DIR}, as {told.sha256}.safetensors; `unmask convert` makes that file of an ONNX file"
    )


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
