"""Scores on a GPU: bytes cross the bus from page-locked buffers, and one graph a batch size does the rest.

Two batches are in flight: while one is computed, the next is copied. Each has a lane of its own: buffers, a stream, and
a graph for each batch size, whose shapes and addresses never change. So nothing is allocated while images are scored.
"""

import queue
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.detector.model import Detector
from trainer.detector.scoring_network import COLUMNS, ScoringNetwork
from trainer.pixels.preprocess import SIZE, Pixels
from worker.inference.accelerator import Accelerator

Precision = Literal["fp32", "bf16", "fp16"]

#: Batches in flight.
LANES = 2
#: The types of numbers in which a network may compute; sums of many are kept in 32 bits.
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

#: (B, 512, 512, 3) uint8 pixels on the device → (B, `COLUMNS`) scores and projections in 32 bits.
Network = Callable[[Tensor], Tensor]


def network_of(detector: Detector, precision: Precision, *, compiled: bool = False) -> Network:
    """A detector's outputs as a function for graphs, computed in ``precision``; ``compiled``: by torch.compile."""
    scoring = ScoringNetwork(detector)

    def outputs(pixels: Tensor) -> Tensor:
        # Within a graph the weights are cast once a batch: 0.2 ms for the largest of our backbones.
        with torch.autocast(pixels.device.type, _TYPES.get(precision), enabled=precision in _TYPES):
            found: Tensor = scoring(pixels)
            return found.float()

    network: Network = torch.compile(outputs, dynamic=False) if compiled else outputs
    return network


class GraphEngine:
    """Runs a network on an accelerator, in batches of at most ``largest`` pictures, two of them at a time.

    Safe for `LANES` threads at once. Raises `torch.OutOfMemoryError` when the device cannot hold the buffers; see
    `fitting_engine`. ``columns``: numbers that the network gives for a picture.
    """

    in_flight = LANES

    def __init__(
        self, network: Network, accelerator: Accelerator, largest: int, name: str, columns: int = COLUMNS
    ) -> None:
        self.name = name
        self.largest = largest
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        for _ in range(LANES):
            self._free.put(_Lane(network, accelerator, largest, columns))

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`) of n (512, 512, 3) uint8 pictures; more than ``largest`` are scored in turn."""
        lane = self._free.get()
        try:
            parts = [lane.outputs(batch[at : at + self.largest]) for at in range(0, len(batch), self.largest)]
        finally:
            self._free.put(lane)
        return np.concatenate(parts)

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores."""
        return self.outputs(batch)[:, 0]


def fitting_engine(
    network: Network, accelerator: Accelerator, largest: int, name: str, columns: int = COLUMNS
) -> GraphEngine:
    """An engine for the largest batches that fit the device's memory: ``largest``, halved as often as necessary.

    Raises `torch.OutOfMemoryError` when not even one picture fits.
    """
    while True:
        try:
            return GraphEngine(network, accelerator, largest, name, columns)
        except torch.OutOfMemoryError:
            if largest == 1:
                raise
        accelerator.forget()
        largest //= 2


def batch_sizes(largest: int) -> list[int]:
    """The sizes that have a graph: powers of two, and the largest. A batch is padded to the next of them."""
    return sorted({largest} | {2**power for power in range(largest.bit_length()) if 2**power <= largest})


class _Lane:
    """Buffers, a stream and graphs for one batch at a time."""

    def __init__(self, network: Network, accelerator: Accelerator, largest: int, columns: int) -> None:
        shape = (largest, SIZE, SIZE, 3)
        self._accelerator = accelerator
        self._stream = accelerator.new_stream()
        self._staged = accelerator.host_buffer(shape, torch.uint8)
        self._found = accelerator.host_buffer((largest, columns), torch.float32)
        self._pixels = accelerator.device_buffer(shape, torch.uint8)
        self._outputs = accelerator.device_buffer((largest, columns), torch.float32)
        with torch.inference_mode():
            self._graphs = {size: self._graph(network, size) for size in reversed(batch_sizes(largest))}

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`) of at most ``largest`` pictures."""
        count, accelerator = len(batch), self._accelerator
        np.stack(batch, out=self._staged.numpy()[:count])
        with torch.inference_mode(), accelerator.on(self._stream):
            accelerator.copy(self._pixels[:count], self._staged[:count])
            self._graphs[min(size for size in self._graphs if size >= count)]()
            accelerator.copy(self._found[:count], self._outputs[:count])
        accelerator.wait(self._stream)
        return self._found.numpy()[:count].copy()

    def _graph(self, network: Network, size: int) -> Callable[[], None]:
        """The largest is recorded first: the others fit into its memory."""
        pixels, outputs = self._pixels[:size], self._outputs[:size]

        def run() -> None:
            outputs.copy_(network(pixels))

        return self._accelerator.record(self._stream, run)
