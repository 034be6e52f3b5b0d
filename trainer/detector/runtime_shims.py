"""Two workarounds that the backbone needs before it runs: glibc's allocator, and torchvision beside a CPU build."""

import ctypes
import platform
import sys

import torch

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8

_SETTINGS = {
    _M_MMAP_MAX: 0,  # never map a block on its own, however big, to unmap it when it is freed
    _M_TRIM_THRESHOLD: 2**31 - 1,  # never return free memory at the top of the heap
    _M_TOP_PAD: 256 * 1024 * 1024,  # grow the heap in big steps
    _M_ARENA_MAX: 1,  # only the main arena can hold big blocks; each thread would get another
}

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # the operators vanish when their Library is collected


def keep_memory() -> None:
    """Tell glibc to keep the memory of big activations instead of returning it and faulting it in again.

    Call it once in a process, before its first forward pass; a second call does no harm. A forward pass on two cores
    runs 3 times as fast (EfficientNet-Lite1, batch 8: 3.2 -> 10 images/s). Other C libraries have no ``mallopt`` of
    this kind, or need none: there it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for option, value in _SETTINGS.items():
        libc.mallopt(option, value)


def declare_torchvision_operators() -> None:
    """Let timm import torchvision beside a CPU build of torch.

    PyPI's torchvision is a CUDA build, whose compiled operators cannot load there; its Python half then stops with
    "operator torchvision::nms does not exist". timm needs only the Python half, so this declares the operators, empty.
    Where torchvision imports, it does nothing.
    """
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
