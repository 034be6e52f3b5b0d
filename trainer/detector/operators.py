"""Lets timm import beside a CPU build of torch.

PyPI's torchvision is a CUDA build whose compiled operators cannot load there; its Python half then stops with
"operator torchvision::nms does not exist". timm needs only that Python half, so the operators are declared, empty.
Where torchvision imports, nothing is done.
"""

import sys

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a Library takes its operators with it when it is collected


def declare_missing() -> None:
    """Make ``import torchvision`` work, if only its Python half can."""
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _forget_half_import()
        _declare()


def _forget_half_import() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]


def _declare() -> None:
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(name + _SCHEMA)  # type: ignore[no-untyped-call]
    _declared.append(library)
