"""Folds each batch normalisation into the convolution before it: the same numbers to rounding, in one step less."""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trainer.detector.model import Detector


def folded(detector: Detector) -> Detector:
    """A copy for inference of a detector whose modules lie in the order in which they run, as timm's do."""
    copied = copy.deepcopy(detector).eval()
    for module in copied.modules():
        _fold_children(module)
    return copied


def _fold_children(module: nn.Module) -> None:
    for (name, first), (next_name, second) in pairwise(list(module.named_children())):
        if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)):
            continue
        if first.out_channels == second.num_features:
            setattr(module, name, fuse_conv_bn_eval(first, second))
            setattr(module, next_name, getattr(second, "act", nn.Identity()))  # timm's have their activation in them
