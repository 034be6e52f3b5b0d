"""What a backbone tells of a picture: its last embedding, or what all its stages say of it.

The early stages carry what the last embedding has lost: noise, edges, traces of upsampling. They cost no further pass.
"""

import inspect
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from trainer.errors import WeightsError
from trainer.pixels.preprocess import FINGERPRINT, SIZE

Embedding = Literal["last", "multilevel"]

#: How pictures of 512×512 are scaled to a network that takes another size.
INTERPOLATION = "bicubic"
#: Keeps the slope of a standard deviation finite where a map is flat.
_VARIANCE_FLOOR = 1e-8


def embed_normalised(backbone: nn.Module, images: Tensor, embedding: Embedding) -> Tensor:
    """Normalised (B, 3, H, W) → (B, D); raises `WeightsError` for a network that cannot give this embedding."""
    if embedding == "multilevel":
        return _multilevel(backbone, images)
    last: Tensor = backbone(images)
    return last


def embedding_size(backbone: nn.Module, embedding: Embedding = "last") -> int:
    """Length D of a network's embedding, from a forward pass.

    Raises `WeightsError` when the network takes no pictures of its input size.
    """
    backbone.eval()
    side = input_size(backbone)
    try:
        with torch.inference_mode():
            shape = tuple(embed_normalised(backbone, torch.zeros(1, 3, side, side), embedding).shape)
    except (RuntimeError, AssertionError) as error:
        raise WeightsError(f"{type(backbone).__name__} does not take {side}x{side} pictures: {error}") from error
    match shape:
        case (1, size):
            return size
    raise WeightsError(f"{type(backbone).__name__} gives {shape}, not one embedding for each picture")


def input_size(backbone: nn.Module) -> int:
    """Width and height of the pictures that a network takes: its own where it takes no others, else 512."""
    config = getattr(backbone, "pretrained_cfg", None)
    if not isinstance(config, dict) or not config.get("fixed_input_size"):
        return SIZE
    _, height, width = config["input_size"]
    if height != width:
        raise WeightsError(f"{type(backbone).__name__} takes pictures of {width}x{height}, which are not square")
    return int(height)


def scaling_matrix(side: int) -> Tensor | None:
    """(side, 512): each output row's weights, antialiased; None for 512.

    Two products with it scale a picture. As numbers they give the same pixels in every engine and on every device.
    """
    if side == SIZE:
        return None
    rows = torch.eye(SIZE)[None, None]
    return interpolate(rows, size=(side, SIZE), mode=INTERPOLATION, antialias=True)[0, 0]


def input_fingerprint(side: int, mean: Sequence[float], std: Sequence[float]) -> str:
    """Identifies how a photo's bytes become a network's input: the pixels, their scaling, their normalisation."""
    numbers = ",".join(f"{value:.6g}" for value in (*mean, *std))
    return f"{FINGERPRINT}-{side}-{INTERPOLATION}-{numbers}"


def _multilevel(backbone: nn.Module, images: Tensor) -> Tensor:
    """Normalised (B, 3, H, W) → (B, D), by timm's own ``forward_intermediates``.

    Of each map of a convolutional network: the mean and the standard deviation of each channel. Of each block of a
    transformer: its class token and the mean of its other tokens. Raises `WeightsError` for a network without.
    """
    if not hasattr(backbone, "forward_intermediates"):
        raise WeightsError(
            f"{type(backbone).__name__} has no forward_intermediates, which --embedding multilevel needs: use last"
        )
    network: Any = backbone
    _, stages = network.forward_intermediates(images, output_fmt="NCHW", **_all_of(network))
    return torch.cat([part for stage in stages for part in _parts(stage)], dim=1)


def _all_of(network: Any) -> dict[str, bool]:
    """Options for every block and every class token, of networks that have them."""
    known = inspect.signature(network.forward_intermediates).parameters
    wanted = {"extra_blocks": True, "return_prefix_tokens": getattr(network, "num_prefix_tokens", 0) > 0}
    return {name: True for name, asked in wanted.items() if asked and name in known}


def _parts(stage: Tensor | tuple[Tensor, Tensor]) -> list[Tensor]:
    """(B, C) each, of a (B, C, H, W) map, or of a map and its (B, P, C) prefix tokens."""
    if isinstance(stage, Tensor):
        variance, mean = torch.var_mean(stage.float(), dim=(2, 3), correction=0)
        return [mean, torch.sqrt(variance + _VARIANCE_FLOOR)]
    others, prefix = stage
    return [prefix[:, 0].float(), others.float().mean(dim=(2, 3))]
