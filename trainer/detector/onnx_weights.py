"""Converts the weights in an ONNX file that the user has to a file for a timm network.

It reads CLIP image encoders as Hugging Face's exporter writes them, in floating point or quantised to 8 bits. Nothing
of the file is run. Quantised weights are multiplied by their scales: they differ from the original's by their rounding,
so they are other weights, with another digest, and a head fitted on one does not serve on the other.
"""

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.detector.model import build_backbone
from trainer.detector.weights import check_finite, load_tensors, weights_sha256
from trainer.errors import WeightsError
from trainer.files import atomic_write

_VISION = "vision_model."
#: Modules outside the blocks, and inside each: the exporter's name to timm's.
_OUTSIDE = {"pre_layrnorm": "norm_pre", "post_layernorm": "norm"}
_INSIDE = {
    "self_attn.out_proj": "attn.proj",
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_KINDS = ("weight", "bias")


def convert_onnx(path: Path, name: str, folder: Path) -> Path:
    """Write the weights in ``path`` for timm's network ``name`` to ``folder``; returns the file, named by its digest.

    Raises `WeightsError` when the file does not hold all weights of such a network, or cannot be written.
    """
    backbone = build_backbone(name)
    found = _tensors(path)
    try:
        state = _timm_state(found, len(backbone.get_submodule("blocks")))  # type: ignore[arg-type]  # it has a length
    except (KeyError, AttributeError) as error:
        raise WeightsError(f"{path} holds no weights for {name!r}: {error} is missing") from error
    load_tensors(backbone, state, f"weights in {path} for {name}")
    check_finite(backbone.state_dict(), f"weights in {path} for {name}")
    return _write(backbone, folder)


def _write(backbone: nn.Module, folder: Path) -> Path:
    target = folder / f"{weights_sha256(backbone)}.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as part:
            save_file({key: value.contiguous() for key, value in backbone.state_dict().items()}, part)
            part.chmod(0o644)
    except OSError as error:
        raise WeightsError(f"{target} cannot be written: {error.strerror}") from error
    return target


def _tensors(path: Path) -> dict[str, Tensor]:
    """All weights by the exporter's module names; those of matrix products are named by the product's node."""
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise WeightsError("converting an ONNX file needs onnx: pip install 'unmask[onnx]'") from error
    try:
        graph = onnx.load(path, load_external_data=False).graph
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    except Exception as error:  # protobuf and onnx raise errors of many kinds
        raise WeightsError(f"{path} is not a readable ONNX file: {type(error).__name__}") from error
    found = {name: _float(array) for name, array in arrays.items() if name.startswith(_VISION)}
    for node in graph.node:
        if node.op_type in ("MatMul", "MatMulInteger") and node.input[1] in arrays:
            module = re.sub(r"/MatMul(_quant)?$", "", node.name).strip("/").replace("/", ".")
            found[f"{module}.weight"] = _float(_matrix(node.input[1], arrays).T)
    return found


def _matrix(name: str, arrays: dict[str, NDArray[np.generic]]) -> NDArray[np.generic]:
    """A matrix; from its 8-bit numbers, zero points and scales where it is quantised."""
    base = name.removesuffix("_quantized")
    if base == name:
        return arrays[name]
    levels = arrays[name].astype(np.float32) - arrays[f"{base}_zero_point"].astype(np.float32)
    return levels * arrays[f"{base}_scale"].astype(np.float32)


def _float(array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def _timm_state(found: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Timm's names; raises KeyError with the name of a tensor that is missing."""
    embeddings = f"{_VISION}embeddings"
    state = {
        "cls_token": found[f"{embeddings}.class_embedding"].view(1, 1, -1),
        "pos_embed": found[f"{embeddings}.position_embedding.weight"][None],
        "patch_embed.proj.weight": found[f"{embeddings}.patch_embedding.weight"],
    }
    for ours, theirs in _OUTSIDE.items():
        state |= {f"{theirs}.{kind}": found[f"{_VISION}{ours}.{kind}"] for kind in _KINDS}
    for number in range(blocks):
        state |= _block(found, f"{_VISION}encoder.layers.{number}", f"blocks.{number}")
    return state


def _block(found: dict[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    state = {
        f"{theirs}.{timm}.{kind}": found[f"{ours}.{name}.{kind}"] for name, timm in _INSIDE.items() for kind in _KINDS
    }
    for kind in _KINDS:
        parts = [found[f"{ours}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
        state[f"{theirs}.attn.qkv.{kind}"] = torch.cat(parts)
    return state
