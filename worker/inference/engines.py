"""How a detector runs: by PyTorch as it is ("eager"), or compiled by OpenVINO for a CPU ("openvino").

Both give the same scores to 1e-4: a worker checks that on pictures that it makes itself, and serves otherwise not.
"""

import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.detector.model import Detector
from trainer.pixels.preprocess import SIZE, Pixels
from worker.core.errors import ScoringError, UsageError
from worker.inference.folding import folded

log = logging.getLogger(__name__)

Name = Literal["auto", "eager", "openvino"]

#: How far an engine's scores may lie from PyTorch's own, in 32 bits on the same device.
TOLERANCE = 1e-4
#: Pictures in one pass on a CPU by PyTorch: more are no faster there, and 16 need 1 GB more than 4.
_CPU_BATCH = 4
_IMAGE_DIMENSIONS = 4


class Engine(Protocol):
    """Runs one detector; ``name`` stands beside each score that it makes. Not thread-safe."""

    name: str

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores of n pictures, (512, 512, 3) uint8 RGB each."""


def start(name: Name, detector: Detector, device: torch.device) -> Engine:
    """The engine of that name, checked; "auto" is OpenVINO on a CPU where it is installed.

    Raises `UsageError` when the engine is not to be had, and `ScoringError` when its scores are wrong.
    """
    if name == "auto":
        name = "openvino" if device.type == "cpu" and _installed() else "eager"
    if name == "eager":
        return _eager(detector, device)
    if device.type != "cpu":
        raise UsageError(f"UNMASK_ENGINE=openvino runs on a CPU, not on {device}")
    if not _installed():
        raise UsageError("UNMASK_ENGINE=openvino needs OpenVINO: pip install 'unmask[openvino]'")
    compiled = OpenVino(detector)
    check(compiled, Eager(detector, device))
    return compiled


def _eager(detector: Detector, device: torch.device) -> Engine:
    """Folded on a CPU, where that makes 1.17 times the images a second; on a GPU nobody has measured it yet."""
    plain = Eager(detector, device)
    if device.type != "cpu":
        return plain
    quicker = Eager(folded(detector), device)
    try:
        check(quicker, plain)
    except ScoringError as error:  # a network that runs in another order than it is written down in
        log.warning("batch normalisations are not folded: %s", error)
        return plain
    return quicker


def check(engine: Engine, reference: Engine) -> None:
    """Compare scores of pictures made here; raises `ScoringError` when they differ by more than `TOLERANCE`."""
    pictures = known_pictures()
    difference = float(np.abs(engine.scores(pictures) - reference.scores(pictures)).max())
    if not difference <= TOLERANCE:  # a score that is not a number is not, either
        raise ScoringError(
            f"engine {engine.name} differs from {reference.name} by {difference:.2g} in its self-test, "
            f"more than {TOLERANCE:g}: set UNMASK_ENGINE=eager"
        )


def known_pictures() -> list[Pixels]:
    """Three pictures that are the same everywhere: a ramp, noise, and noise without its fine grain."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, SIZE, dtype=np.uint8)
    grain = SIZE // 8
    return [
        np.stack([np.broadcast_to(ramp, (SIZE, SIZE)), np.broadcast_to(ramp[:, None], (SIZE, SIZE))] * 2, axis=2)[
            :, :, :3
        ],
        noise,
        noise[:grain, :grain].repeat(8, axis=0).repeat(8, axis=1),
    ]


class Eager:
    """PyTorch, operator by operator, in 32 bits."""

    name = "eager-fp32"

    def __init__(self, detector: Detector, device: torch.device) -> None:
        self._device = device
        # Channels last: NHWC pixels need no copy, and convolutions run 1.2 times as fast on a CPU.
        self._detector = _channels_last(detector.eval().to(device))

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores; on a CPU a few pictures at a time."""
        size = _CPU_BATCH if self._device.type == "cpu" else len(batch)
        with torch.inference_mode():
            parts = [self._forward(batch[start : start + size]) for start in range(0, len(batch), size)]
        return np.asarray(torch.cat(parts))

    def _forward(self, batch: Sequence[Pixels]) -> Tensor:
        pixels = torch.from_numpy(np.stack(batch)).to(self._device)
        return torch.sigmoid(self._detector(pixels).float()).cpu()


class OpenVino:
    """The detector compiled for this CPU, in 32 bits, one picture at a time on all its cores."""

    name = "openvino-fp32"

    def __init__(self, detector: Detector) -> None:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it reports each import to a third party
        import openvino

        example = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch's own, of its own parts
            model = openvino.convert_model(torch.export.export(_Scoring(detector.eval()), (example,)))
        model.reshape({0: list(example.shape)})
        self._request = openvino.Core().compile_model(model, "CPU", _settings()).create_infer_request()

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores. On a CPU a batch is no faster than its pictures one by one, and needs more memory."""
        return np.concatenate([self._request.infer({0: pixels[None]})[0].copy() for pixels in batch])


class _Scoring(nn.Module):
    """A detector with its last step: (B, 512, 512, 3) uint8 → (B,) scores."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) → (B,)."""
        return torch.sigmoid(self.detector(pixels))


def _settings() -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # else it takes bfloat16 where the CPU has it: scores 0.3 off
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
        "ENABLE_CPU_PINNING": False,  # workers beside each other would be pinned to the same cores
    }


def _installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _channels_last(detector: Detector) -> Detector:
    """``module.to(memory_format=...)``, which torch's types do not know."""
    for parameter in detector.parameters():
        if parameter.dim() == _IMAGE_DIMENSIONS:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return detector
