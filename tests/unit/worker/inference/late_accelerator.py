"""An accelerator without a GPU, which does its work as late as a driver may."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Stream:
    """Work that nobody has waited for."""

    def __init__(self) -> None:
        self.work: list[Callable[[], object]] = []


class LateAccelerator:
    """An accelerator on the CPU, with memory for ``limit`` pictures in each buffer.

    Work on a stream waits until somebody waits for the stream. So whoever reads a result too early, or reuses a buffer
    that a copy still reads, gets wrong scores; and whoever copies from memory that is not page-locked is refused, since
    a driver would make such a copy synchronous.
    """

    device = torch.device("cpu")

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.locked: list[Tensor] = []
        self.copies: list[tuple[int, ...]] = []
        self.replayed: list[tuple[int, ...]] = []
        self._current = threading.local()

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        buffer = torch.full(shape, 7, dtype=dtype)
        self.locked.append(buffer)  # kept, so that no other memory gets its address
        return buffer

    def device_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        if shape[0] > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(shape, dtype=dtype)

    def new_stream(self) -> Stream:
        return Stream()

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        self._current.stream = stream
        yield
        del self._current.stream

    def copy(self, target: Tensor, source: Tensor) -> None:
        locked = {buffer.untyped_storage().data_ptr() for buffer in self.locked}
        ends = {target.untyped_storage().data_ptr(), source.untyped_storage().data_ptr()}
        assert len(ends & locked) == 1, "a copy that is not between page-locked memory and the device waits"
        self.copies.append(tuple(source.shape))
        self._current.stream.work.append(lambda: target.copy_(source))

    def record(self, stream: Stream, run: Callable[[], None]) -> Callable[[], None]:
        assert not stream.work
        run()  # on the buffers of the graph, which it may not leave
        return lambda: self._current.stream.work.append(run)

    def wait(self, stream: Stream) -> None:
        work, stream.work = stream.work, []
        with torch.inference_mode():
            for step in work:
                step()

    def forget(self) -> None:
        """It keeps nothing."""
