"""Exports a detector as an ONNX file, for programs that run no PyTorch, and checks that it gives the same scores.

The file takes ``pixels``, (B, 512, 512, 3) uint8 RGB, as `trainer.pixels.preprocess` makes them, and gives ``scores``,
(B,) from 0 to 1. Whoever makes the pixels in another way gets other scores than were measured. The checkpoint's card is
in the file's metadata under "unmask".
"""

import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trainer.detector.card import KEY, Card
from trainer.detector.checkpoint import load
from trainer.detector.model import Detector
from trainer.errors import TrainerError
from trainer.files import atomic_write
from trainer.judging.metrics import Scores
from trainer.pixels.preprocess import SIZE, Pixels

#: How far the file's scores may be from PyTorch's.
TOLERANCE = 1e-4
#: ONNX's own version of its operators: new enough for all that backbones use, old enough for runtimes of 2023.
_OPSET = 18


class _Scoring(nn.Module):
    """(B, 512, 512, 3) uint8 pixels to (B,) scores."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self._detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.sigmoid(self._detector(pixels))


def export_onnx(checkpoint: Path, out: Path) -> float:
    """Write a checkpoint's detector to ``out``; returns the largest difference of its scores from PyTorch's.

    Raises a `TrainerError` when a package is missing, the network cannot be exported, or scores differ by more than
    `TOLERANCE`; then it writes no file.
    """
    _check_installed()
    detector, card = load(checkpoint)
    scoring = _Scoring(detector).eval()
    if card.quantised is not None:
        raise TrainerError(f"{card.name!r} is int8, for OpenVINO alone: export {card.quantised.of.name!r}")
    pixels = _trial_pixels()
    with torch.inference_mode():
        expected = np.asarray(scoring(torch.from_numpy(pixels)), dtype=np.float64)
    if not out.parent.is_dir():
        raise TrainerError(f"folder {out.parent} for the ONNX file does not exist")
    with atomic_write(out) as part:
        _write(scoring, card, part)
        difference = float(np.abs(onnx_runtime(part)(pixels) - expected).max())
        if not difference <= TOLERANCE:
            raise TrainerError(
                f"the ONNX file's scores differ by {difference:.2g} from PyTorch's ({TOLERANCE:g} allowed)"
            )
    return difference


def _check_installed() -> None:
    missing = [name for name in ("onnx", "onnxscript") if not find_spec(name)]
    if not (find_spec("onnxruntime") or find_spec("openvino")):
        missing.append("onnxruntime (or openvino), which checks the file")
    if missing:
        raise TrainerError(f"--onnx needs {', '.join(missing)}: pip install 'unmask[onnx]'")


def _trial_pixels() -> Pixels:
    """Three pictures to compare by: noise, mid-grey and a gradient."""
    random = np.random.default_rng(0)
    gradient = np.broadcast_to(np.linspace(0, 255, SIZE)[:, None], (SIZE, SIZE, 3))
    grey = np.full((SIZE, SIZE, 3), 128)
    return np.stack([random.integers(0, 256, (SIZE, SIZE, 3)), grey, gradient]).astype(np.uint8)


def _write(scoring: nn.Module, card: Card, path: Path) -> None:
    import onnx

    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's, about itself
            program = torch.onnx.export(
                scoring,
                (example,),
                dynamo=True,
                opset_version=_OPSET,
                input_names=["pixels"],
                output_names=["scores"],
                dynamic_shapes={"pixels": {0: batch}},
                verbose=False,
            )
    except Exception as error:  # the exporter raises anything
        raise TrainerError(f"{card.backbone.name} cannot be exported to ONNX: {str(error).splitlines()[0]}") from error
    if program is None:
        raise TrainerError(f"{card.backbone.name} cannot be exported to ONNX")
    model = program.model_proto
    onnx.helper.set_model_props(model, {KEY: card.json_text()})
    onnx.save_model(model, path)


def onnx_runtime(path: Path) -> Callable[[Pixels], Scores]:
    """A function that scores pixels by the file, in ONNX Runtime where it is installed, else in OpenVINO."""
    if find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda pixels: np.asarray(session.run(None, {"pixels": pixels})[0], dtype=np.float64)
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would report each import
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: np.asarray(compiled(pixels)[0], dtype=np.float64)
