"""What the graph engine asks of a GPU's driver, and CUDA's way to do it.

Every call but `wait` returns before the work is done: work on one stream runs in order, and two streams overlap.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

#: Runs of a function before its graph is recorded: the first ones choose kernels and allocate memory.
_WARM_UPS = 3


class Accelerator(Protocol):
    """A device with streams and graphs. ``Stream`` objects are the driver's own."""

    device: torch.device

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Page-locked memory of this machine, from and to which copies are asynchronous."""

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the device."""

    def new_stream(self) -> Any:
        """A stream of work."""

    def on(self, stream: Any) -> AbstractContextManager[None]:
        """Send what follows to this stream."""

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Copy between page-locked memory and the device, on the current stream."""

    def record(self, stream: Any, run: Callable[[], None]) -> Callable[[], None]:
        """Record what ``run`` does on fixed buffers; the result repeats it on the current stream.

        Raises `torch.OutOfMemoryError` when the device cannot hold it.
        """

    def wait(self, stream: Any) -> None:
        """Return when the stream's work is done; raises RuntimeError when it failed."""

    def forget(self) -> None:
        """Return unused memory to the device."""


@dataclass(frozen=True, slots=True)
class CudaStream:
    """A CUDA stream, and the memory that its graphs share: no two of them run at once."""

    stream: "torch.cuda.Stream"
    pool: Any


class CudaAccelerator:
    """CUDA, by torch: pinned memory, streams and CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Pinned memory."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Device memory, zeroed: padding must hold numbers."""
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def new_stream(self) -> CudaStream:
        """A CUDA stream."""
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # torch's types lack it
        return CudaStream(stream, torch.cuda.graph_pool_handle())

    def on(self, stream: CudaStream) -> AbstractContextManager[None]:
        """A context in which work goes to this stream."""
        context: AbstractContextManager[None] = torch.cuda.stream(stream.stream)
        return context

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Copy without waiting for the end of the copy."""
        target.copy_(source, non_blocking=True)

    def record(self, stream: CudaStream, run: Callable[[], None]) -> Callable[[], None]:
        """Warm up, then capture a CUDA graph. Other threads may use the device meanwhile."""
        stream.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream.stream):
            for _ in range(_WARM_UPS):
                run()
        stream.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream.pool, stream.stream, capture_error_mode="thread_local"):
            run()
        replay: Callable[[], None] = graph.replay
        return replay

    def wait(self, stream: CudaStream) -> None:
        """Synchronise with the stream."""
        stream.stream.synchronize()

    def forget(self) -> None:
        """Return the memory that torch's allocator caches."""
        torch.cuda.empty_cache()
