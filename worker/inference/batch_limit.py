"""How many pictures one forward pass may have: fewer, once that many did not fit into the device's memory."""

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

#: Parts of the messages of PyTorch (of CUDA, cuBLAS, cuDNN and a CPU) and of OpenVINO when memory is full.
_SIGNS = (
    *("out of memory", "not enough memory", "can't allocate memory", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED"),
    *("CUDNN_STATUS_ALLOC_FAILED", "CL_OUT_OF_RESOURCES", "CL_MEM_OBJECT_ALLOCATION_FAILURE"),
)


class BatchLimit:
    """The largest batch of this process. It falls by half until a batch fits, and never grows again.

    The models of a process share it, as they share the device's memory. ``on_lowered(images)`` is called at each fall.
    """

    def __init__(self, images: int) -> None:
        self.images = images
        self.on_lowered: Callable[[int], None] = lambda _images: None

    def lower(self, failed: int, device: str) -> int:
        """Half of a batch that did not fit is the limit from now on; returns it."""
        fits = max(1, failed // 2)
        if fits < self.images:
            self.images = fits
            log.warning("a batch of %d images does not fit into the memory of %s: at most %d now", failed, device, fits)
            self.on_lowered(fits)
        if torch.cuda.is_available():  # what the failed batch left in PyTorch's cache may not fit the next one
            torch.cuda.empty_cache()
        return fits


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was full, the device's or this machine's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
