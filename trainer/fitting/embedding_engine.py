"""What embeds pictures on a CPU: PyTorch, or OpenVINO, which takes about half of the processor's time.

OpenVINO's embeddings are PyTorch's to rounding, and not to the bit: the cache keeps them apart.
"""

import importlib.util
import logging
import os
import threading
import warnings
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from trainer.detector.model import Detector
from trainer.detector.scoring_network import NetworkFiles, openvino_module
from trainer.errors import CheckpointError, TrainerError
from trainer.files import atomic_write
from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import SIZE

log = logging.getLogger(__name__)

#: The variable that names the engine, and its words.
VARIABLE = "UNMASK_EMBEDDING_ENGINE"
NAMES = ("auto", "torch", "openvino")
#: Largest difference from PyTorch's embedding of a picture, as a share of its largest number.
TOLERANCE = 1e-4


class EmbeddingEngine(Protocol):
    """Embeds pictures; many threads may use it at once."""

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, 512, 512, 3) uint8 → (B, D) float32."""


def is_openvino_chosen(device: torch.device) -> bool:
    """Whether `VARIABLE` chooses OpenVINO; "auto", the default, does on a CPU where it is installed.

    Raises `TrainerError` for another word than `NAMES`, and for OpenVINO where it cannot run.
    """
    name = os.environ.get(VARIABLE, "auto")
    if name not in NAMES:
        raise TrainerError(f"{VARIABLE} is {name[:50]!r}, not one of {', '.join(NAMES)}")
    if name == "auto":
        return device.type == "cpu" and importlib.util.find_spec("openvino") is not None
    if name == "openvino" and device.type != "cpu":
        raise TrainerError(f"{VARIABLE}=openvino runs on a CPU, not on {device}")
    return name == "openvino"


class TorchEngine:
    """PyTorch, on the detector's device; CUDA may still be computing what it returns."""

    def __init__(self, detector: Detector, device: torch.device) -> None:
        self._detector, self._device = detector.to(device).eval(), device

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, D) float32 on the device."""
        with torch.inference_mode():
            return self._detector.embed(pixels.to(self._device, non_blocking=True)).float()


class OpenVinoEngine:
    """OpenVINO with a thread for each picture: the bits of an embedding do not depend on how many are embedded."""

    def __init__(self, files: NetworkFiles, threads: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = openvino_module().Core().compile_model(files.model(), "CPU", settings)
        self._requests = threading.local()

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, D) float32, picture by picture."""
        if not hasattr(self._requests, "mine"):
            self._requests.mine = self._compiled.create_infer_request()
        each = [self._requests.mine.infer({0: picture[None]})[0].copy() for picture in pixels.numpy()]
        return torch.from_numpy(np.concatenate(each))


def openvino_engine(detector: Detector, folder: Path, threads: int) -> OpenVinoEngine:
    """OpenVINO's engine of a detector's backbone; ``folder`` keeps the network that conversion made.

    Raises `TrainerError` when the network cannot be converted, or when its embeddings differ from PyTorch's.
    """
    if (kept := _kept(folder)) is not None:
        return OpenVinoEngine(kept, threads)
    files = _converted(detector)
    engine = OpenVinoEngine(files, threads)
    _check(engine, TorchEngine(detector, torch.device("cpu")))
    _keep(folder, files)
    return engine


class _EmbeddingNetwork(nn.Module):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, pixels: Tensor) -> Tensor:
        return self.detector.embed(pixels).float()


def _converted(detector: Detector) -> NetworkFiles:
    example = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    try:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # raised by torch about itself
            exported = torch.export.export(_EmbeddingNetwork(detector.eval()), (example,))
            model = openvino_module().convert_model(exported)
    except Exception as error:  # both raise whatever a network's own code makes them raise
        raise TrainerError(f"OpenVINO cannot convert this network: {type(error).__name__}") from error
    model.reshape({0: list(example.shape)})
    return NetworkFiles.of(model)


def _check(engine: EmbeddingEngine, reference: EmbeddingEngine) -> None:
    pictures = torch.from_numpy(np.stack(known_pictures()))
    expected = reference.embed(pictures)
    difference = float((engine.embed(pictures) - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:  # so written, a number that is none fails, too
        raise TrainerError(f"OpenVINO's embeddings differ from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}")


def _kept(folder: Path) -> NetworkFiles | None:
    """The network in a folder of the cache; None when none is there that OpenVINO can read."""
    try:
        files = NetworkFiles((folder / "network.xml").read_bytes(), (folder / "network.bin").read_bytes())
        files.model()
    except (OSError, CheckpointError):
        return None
    return files


def _keep(folder: Path, files: NetworkFiles) -> None:
    for name, data in (("network.bin", files.weights), ("network.xml", files.xml)):
        with atomic_write(folder / name) as part:
            part.write_bytes(data)
