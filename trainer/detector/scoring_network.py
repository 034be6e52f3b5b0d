"""What engines run: a detector with its final sigmoid and its projection; as an OpenVINO network; in 8 bits.

The scores of an int8 network are not those of the network that it was made of. It is a detector of its own: with its
own file, its own reference and its own thresholds.
"""

import os
import sys
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.detector import projection
from trainer.detector.model import Detector
from trainer.detector.projection import Projection
from trainer.errors import CheckpointError, TrainerError
from trainer.pixels.preprocess import SIZE, Pixels

#: Numbers that come out for one picture: its score, then its projection; of a detector that is made of two, then the
#: scores of both.
COLUMNS = 1 + projection.SIZE
#: How far an int8 network's scores of the known pictures may be from those where it was made: CPUs with other
#: instructions round otherwise.
INT8_TOLERANCE = 0.02


def openvino_module() -> Any:
    """The module ``openvino``; raises `TrainerError` where it is not installed."""
    if not find_spec("openvino"):
        raise TrainerError("OpenVINO is not installed: pip install 'unmask[openvino]'")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would report each import to a third party
    import openvino

    return openvino


class ScoringNetwork(nn.Module):
    """(B, 512, 512, 3) uint8 → (B, ``columns``). The projection takes under a thousandth of the pass."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.columns = COLUMNS + detector.keys
        self.projection = Projection(len(detector.head.scaling.mean)).to(detector.mean.device)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores and projections of a batch, in 32 bits."""
        logits, features, keys = self.detector.key_readings(pixels)
        columns = [torch.sigmoid(logits.float())[:, None], self.projection(features).float()]
        if self.detector.keys:
            columns.append(torch.sigmoid(keys.float()).T)
        return torch.cat(columns, dim=1)


@dataclass(frozen=True, slots=True)
class NetworkFiles:
    """A network as OpenVINO stores it: its operations, and their constants."""

    xml: bytes
    weights: bytes

    @classmethod
    def of(cls, model: Any) -> Self:
        """Those of a model in memory."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "network.xml"
            openvino_module().save_model(model, path, compress_to_fp16=False)
            return cls(path.read_bytes(), path.with_suffix(".bin").read_bytes())

    def model(self) -> Any:
        """The model; raises `CheckpointError` when OpenVINO cannot read it."""
        try:
            return openvino_module().Core().read_model(self.xml, self.weights)
        except RuntimeError as error:
            raise CheckpointError(f"its int8 network cannot be read: {_last_line(error)}") from error


class OpenVinoNetwork:
    """A model compiled for this CPU, one picture at a time on all its cores."""

    def __init__(self, model: Any) -> None:
        compiled = openvino_module().Core().compile_model(model, "CPU", _settings())
        self._request = compiled.create_infer_request()
        self._turn = threading.Lock()

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`), picture by picture: on a CPU a batch is no faster, and needs more memory."""
        with self._turn:
            return np.concatenate([self._request.infer({0: pixels[None]})[0].copy() for pixels in batch])

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores."""
        return self.outputs(batch)[:, 0]


def converted(detector: Detector) -> Any:
    """A detector as a model in 32 bits: (1, 512, 512, 3) uint8 → (1, `COLUMNS`)."""
    openvino = openvino_module()
    example = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # raised by torch about itself
        model = openvino.convert_model(torch.export.export(ScoringNetwork(detector.eval()), (example,)))
    model.reshape({0: list(example.shape)})
    return model


class QuantisedDetector(Detector):
    """A detector whose uint8 pictures are scored by an int8 network, on a CPU.

    Pictures in floating point pass through the network that it was made of, ``origin``: that one has gradients, which
    explain a score. Nothing can be fitted on an int8 network, so it gives no embeddings. ``known_scores`` are those of
    the known pictures where it was made.
    """

    def __init__(self, origin: Detector, files: NetworkFiles, known_scores: Tensor) -> None:
        statistics = (0.0,) * 3, (1.0,) * 3
        super().__init__(origin.backbone, origin.head, *statistics, origin.embedding, input_size=origin.input_size)
        self.mean.copy_(origin.mean)
        self.std.copy_(origin.std)
        self.files = files
        self.register_buffer("known_scores", known_scores.float())
        self._network: OpenVinoNetwork | None = None

    known_scores: Tensor

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`) by the int8 network, which the first call compiles.

        Raises `TrainerError` where OpenVINO is not installed or cannot read the network.
        """
        if self._network is None:
            self._network = OpenVinoNetwork(self.files.model())
        return self._network.outputs(batch)

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores; raises as `outputs` does."""
        return self.outputs(batch)[:, 0]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) → (B,) logits: of uint8 by the int8 network, of floats by its origin."""
        if pixels.dtype == torch.uint8:
            return torch.logit(torch.from_numpy(self.scores(list(pixels.cpu().numpy()))), eps=1e-7).to(pixels.device)
        logits: Tensor = self.head(super().embed(pixels)).squeeze(1)
        return logits

    def embed(self, pixels: Tensor) -> Tensor:  # noqa: ARG002
        """Raise `TrainerError`: an int8 network gives scores and no embeddings."""
        raise TrainerError("an int8 detector gives no embeddings: name the checkpoint that it was made of")


def _settings() -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 where the CPU has it: scores 0.3 off
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
        "ENABLE_CPU_PINNING": False,  # several workers would all be pinned to the same cores
    }


def _last_line(error: Exception) -> str:
    """OpenVINO's messages begin with places in its source."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
