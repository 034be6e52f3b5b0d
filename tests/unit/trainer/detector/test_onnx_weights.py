"""A CLIP image encoder in an ONNX file becomes weights of the timm network, and what is missing is named."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors.torch import load_file
from torch import Tensor

from trainer.cli import root
from trainer.detector.model import build_backbone

pytestmark = pytest.mark.full  # a network of 86 million parameters

NETWORK = "vit_base_patch16_clip_quickgelu_224.openai"
#: Timm's names in a block, and the exporter's.
INSIDE = {"attn.proj": "self_attn.out_proj", "norm1": "layer_norm1", "norm2": "layer_norm2"}
INSIDE |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
OUTSIDE = {"norm_pre": "pre_layrnorm", "norm": "post_layernorm"}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights of the network."""
    torch.manual_seed(0)
    return {name: value.clone() for name, value in build_backbone(NETWORK).state_dict().items()}


def exported(state: dict[str, Tensor]) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """The initialisers by the exporter's names, and the matrices of its products by module."""
    plain, products = {}, {}
    embeddings = "vision_model.embeddings"
    plain[f"{embeddings}.class_embedding"] = state["cls_token"].flatten().numpy()
    plain[f"{embeddings}.position_embedding.weight"] = state["pos_embed"][0].numpy()
    plain[f"{embeddings}.patch_embedding.weight"] = state["patch_embed.proj.weight"].numpy()
    for timm, theirs in OUTSIDE.items():
        plain |= {f"vision_model.{theirs}.{kind}": state[f"{timm}.{kind}"].numpy() for kind in ("weight", "bias")}
    for number in range(12):
        block, layer = f"blocks.{number}", f"vision_model.encoder.layers.{number}"
        for part, rows in zip("qkv", range(3), strict=True):
            chosen = slice(768 * rows, 768 * (rows + 1))
            products[f"{layer}.self_attn.{part}_proj"] = state[f"{block}.attn.qkv.weight"][chosen].numpy()
            plain[f"{layer}.self_attn.{part}_proj.bias"] = state[f"{block}.attn.qkv.bias"][chosen].numpy()
        for timm, theirs in INSIDE.items():
            plain[f"{layer}.{theirs}.bias"] = state[f"{block}.{timm}.bias"].numpy()
            matrix = state[f"{block}.{timm}.weight"].numpy()
            if timm.startswith("norm"):
                plain[f"{layer}.{theirs}.weight"] = matrix
            else:
                products[f"{layer}.{theirs}"] = matrix
    return plain, products


def write(path: Path, state: dict[str, Tensor], without: str = "", quantised: str = "") -> None:
    """Write the encoder as the exporter does: without one tensor, and with one matrix in 8 bits."""
    plain, products = exported(state)
    tensors = [numpy_helper.from_array(value, name) for name, value in plain.items() if name != without]
    nodes = []
    for module, matrix in products.items():
        node, stored = "/" + module.replace(".", "/") + "/MatMul", f"onnx::{module}"
        if module == quantised:
            levels, zero, scale = np.rint(matrix.T / 0.001).clip(-100, 100) + 128, 128, 0.001
            tensors += [
                numpy_helper.from_array(levels.astype(np.uint8), f"{stored}_quantized"),
                numpy_helper.from_array(np.array(zero, np.uint8), f"{stored}_zero_point"),
                numpy_helper.from_array(np.array(scale, np.float32), f"{stored}_scale"),
            ]
            nodes.append(helper.make_node("MatMulInteger", ["x", f"{stored}_quantized"], ["y"], name=f"{node}_quant"))
        else:
            tensors.append(numpy_helper.from_array(np.ascontiguousarray(matrix.T), stored))
            nodes.append(helper.make_node("MatMul", ["x", stored], ["y"], name=node))
    onnx.save(helper.make_model(helper.make_graph(nodes, "clip", [], [], tensors)), path)


def test_an_encoder_becomes_weights_named_by_their_digest(state: dict[str, Tensor], tmp_path: Path) -> None:
    matrix = "vision_model.encoder.layers.3.mlp.fc1"
    write(tmp_path / "clip.onnx", state, quantised=matrix)
    words = ["convert", "--onnx", f"{tmp_path}/clip.onnx", "--backbone", NETWORK, "--out", f"{tmp_path}/backbones"]
    run = CliRunner().invoke(root, words)
    assert run.exit_code == 0, run.output
    found = load_file(run.output.strip())
    assert found.keys() == state.keys()
    rounded = found.pop("blocks.3.mlp.fc1.weight")
    limits = state["blocks.3.mlp.fc1.weight"].clamp(-0.1, 0.1)
    assert torch.allclose(rounded, limits, atol=0.00051)
    assert all(torch.equal(value, state[name]) for name, value in found.items())


def test_a_missing_tensor_and_a_file_of_another_kind_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    write(tmp_path / "clip.onnx", state, without="vision_model.encoder.layers.7.layer_norm1.bias")
    (tmp_path / "text.onnx").write_text("not a network")
    for name, said in {
        "clip": "vision_model.encoder.layers.7.layer_norm1.bias' is missing",
        "text": "not a readable",
    }.items():
        words = ["convert", "--onnx", f"{tmp_path}/{name}.onnx", "--backbone", NETWORK, "--out", f"{tmp_path}/out"]
        run = CliRunner().invoke(root, words)
        assert run.exit_code != 0
        assert said in str(run.exception or "") + run.output
    assert not (tmp_path / "out").exists()
