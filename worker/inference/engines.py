"""How a detector runs: by PyTorch as it is ("eager"), compiled for a CPU ("openvino"), or as graphs on a GPU ("graph").

OpenVINO gives PyTorch's scores to 1e-4, and graphs to 2e-3. A worker verifies this on generated pictures at start-up,
and refuses to serve if the scores differ.
"""

import copy
import importlib.util
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trainer.detector.card import Card
from trainer.detector.model import Detector
from trainer.detector.scoring_network import (
    INT8_TOLERANCE,
    NetworkFiles,
    OpenVinoNetwork,
    QuantisedDetector,
    ScoringNetwork,
    converted,
)
from trainer.errors import CheckpointError
from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import Pixels
from worker.core.errors import ScoringError, UsageError
from worker.inference.accelerator import CudaAccelerator
from worker.inference.network_cache import KeptNetwork, NetworkCache
from worker.inference.tuning import Tuning, tuned_engine

log = logging.getLogger(__name__)

Name = Literal["auto", "eager", "openvino", "graph"]

#: Largest difference between an engine's scores and PyTorch's own, in 32 bits on the same device.
TOLERANCE = 1e-4
#: Pictures in one forward pass by PyTorch on a CPU: more are no faster there, and 16 need 1 GB more than 4.
_CPU_BATCH = 4
_IMAGE_DIMENSIONS = 4


class Engine(Protocol):
    """Runs one detector; ``name`` is recorded with each score. ``in_flight`` threads may use it at once."""

    name: str
    in_flight: int

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`) scores and projections of n pictures, (512, 512, 3) uint8 RGB each."""

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) their scores alone."""


def start_engine(
    name: Name,
    detector: Detector,
    device: torch.device,
    tuning: Tuning | None = None,
    cache: NetworkCache | None = None,
) -> Engine:
    """Start an engine by name and check it. OpenVINO converts the detector only where ``cache`` does not have it.

    "auto" is graphs on a GPU; on a CPU it is OpenVINO where it is installed, else PyTorch. Raises `UsageError` when the
    engine is not available here, and `ScoringError` when its scores are wrong.
    """
    if isinstance(detector, QuantisedDetector):
        return _int8(name, detector, device)
    if name == "auto":
        name = "graph" if device.type == "cuda" else "openvino" if _installed() else "eager"
    if name == "eager":
        return _eager(detector, device)
    if name == "graph":
        return _graph(detector, device, tuning or Tuning())
    if device.type != "cpu":
        raise UsageError(f"UNMASK_ENGINE=openvino runs on a CPU, not on {device}")
    if not _installed():
        raise UsageError("UNMASK_ENGINE=openvino needs OpenVINO: pip install 'unmask[openvino]'")
    cache = cache or NetworkCache()
    return _kept(cache) or _converted(detector, device, cache)


def _kept(cache: NetworkCache) -> Engine | None:
    """The engine of the kept network; None when nothing is kept, or when its scores differ from PyTorch's."""
    if (kept := cache.read()) is None:
        return None
    try:
        engine = OpenVino(OpenVinoNetwork(kept.files.model()))
        _check_scores(engine, "eager-fp32", kept.known_scores)
    except (CheckpointError, ScoringError) as error:
        log.warning("the network kept in %s is not used: %s", cache.file, error)
        return None
    return engine


def _converted(detector: Detector, device: torch.device, cache: NetworkCache) -> Engine:
    model = converted(detector)
    engine = OpenVino(OpenVinoNetwork(model))
    plain = Eager(detector, device)
    expected = np.concatenate([plain.scores([picture]) for picture in known_pictures()])  # together take more memory
    _check_scores(engine, "eager-fp32", expected)
    cache.keep(KeptNetwork(NetworkFiles.of(model), expected))
    return engine


def reference_engine(card: Card) -> Name:
    """The engine whose scores are this detector's own: PyTorch's, or those of its int8 network. It starts fastest."""
    return "openvino" if card.quantised is not None else "eager"


def _int8(name: Name, detector: QuantisedDetector, device: torch.device) -> Engine:
    """The engine of an int8 network; it gives the scores that it gave where it was made, or it does not serve."""
    if name not in {"auto", "openvino"}:
        raise UsageError(f"UNMASK_ENGINE={name} cannot run an int8 model: set openvino or auto")
    if device.type != "cpu":
        raise UsageError(f"an int8 model runs on a CPU, not on {device}: set UNMASK_DEVICE=cpu")
    if not _installed():
        raise UsageError("an int8 model needs OpenVINO: pip install 'unmask[openvino]'")
    engine = Int8(detector)
    difference = float(np.abs(engine.scores(known_pictures()) - detector.known_scores.numpy()).max())
    if not difference <= INT8_TOLERANCE:
        raise ScoringError(
            f"the int8 model's scores differ by {difference:.2g} from those where it was made, more than "
            f"{INT8_TOLERANCE:g}: its reference does not hold on this CPU. Quantise it on a machine like this one"
        )
    return engine


def _eager(detector: Detector, device: torch.device) -> Engine:
    """With fused batch normalisations on a CPU: 1.17 times the images a second. On a GPU nobody has measured it yet."""
    plain = Eager(detector, device)
    if device.type != "cpu":
        return plain
    fused = Eager(fuse_batchnorm(detector), device)
    try:
        check_engine(fused, plain)
    except ScoringError as error:  # a network whose modules run in another order than they are defined in
        log.warning("model runs without fused batch normalisations: %s", error)
        return plain
    return fused


def _graph(detector: Detector, device: torch.device, tuning: Tuning) -> Engine:
    if device.type != "cuda":
        raise UsageError(f"UNMASK_ENGINE=graph runs on a GPU, not on {device}")
    torch.backends.cudnn.allow_tf32 = False  # else "32 bits" would mean 19 in convolutions
    return tuned_engine(detector.eval().to(device), CudaAccelerator(device), tuning)


def check_engine(engine: Engine, reference: Engine) -> None:
    """Compare scores of generated pictures; raises `ScoringError` when they differ by more than `TOLERANCE`."""
    _check_scores(engine, reference.name, reference.scores(known_pictures()))


def _check_scores(engine: Engine, reference: str, expected: NDArray[np.float32]) -> None:
    difference = float(np.abs(engine.scores(known_pictures()) - expected).max())
    if not difference <= TOLERANCE:  # so written, a score that is not a number fails, too
        raise ScoringError(
            f"engine {engine.name} differs from {reference} by {difference:.2g} in its self-test, "
            f"more than {TOLERANCE:g}: set UNMASK_ENGINE=eager"
        )


class Eager:
    """PyTorch, operator by operator, in 32 bits."""

    name = "eager-fp32"
    in_flight = 1

    def __init__(self, detector: Detector, device: torch.device) -> None:
        self._device = device
        # Channels last: NHWC pixels need no copy, and convolutions run 1.2 times as fast on a CPU.
        self._network = ScoringNetwork(_channels_last(detector.eval().to(device)))

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`), `_CPU_BATCH` pictures at a time on a CPU."""
        size = _CPU_BATCH if self._device.type == "cpu" else len(batch)
        with torch.inference_mode():
            parts = [self._forward(batch[at : at + size]) for at in range(0, len(batch), size)]
        return np.asarray(torch.cat(parts))

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores."""
        return self.outputs(batch)[:, 0]

    def _forward(self, batch: Sequence[Pixels]) -> Tensor:
        outputs: Tensor = self._network(torch.from_numpy(np.stack(batch)).to(self._device))
        return outputs.cpu()


class OpenVino:
    """The detector compiled for this CPU, in 32 bits."""

    name = "openvino-fp32"
    in_flight = 1

    def __init__(self, network: OpenVinoNetwork) -> None:
        self._network = network

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`), picture by picture."""
        return self._network.outputs(batch)

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores."""
        return self._network.scores(batch)


class Int8:
    """The int8 network of a quantised detector."""

    name = "openvino-int8"
    in_flight = 1

    def __init__(self, detector: QuantisedDetector) -> None:
        self._detector = detector

    def outputs(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n, `COLUMNS`), picture by picture."""
        return self._detector.outputs(batch)

    def scores(self, batch: Sequence[Pixels]) -> NDArray[np.float32]:
        """(n,) scores."""
        return self._detector.scores(batch)


def _installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _channels_last(detector: Detector) -> Detector:
    """``module.to(memory_format=...)``, which torch's types do not know."""
    for parameter in detector.parameters():
        if parameter.dim() == _IMAGE_DIMENSIONS:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return detector


def fuse_batchnorm(detector: Detector) -> Detector:
    """A copy for inference with each batch normalisation fused into the convolution before it.

    The scores are the same to rounding, in fewer steps. The detector's modules must be defined in the order in which
    they run, as timm's are.
    """
    copied = copy.deepcopy(detector).eval()
    for module in copied.modules():
        _fuse_children(module)
    return copied


def _fuse_children(module: nn.Module) -> None:
    for (name, first), (next_name, second) in pairwise(list(module.named_children())):
        if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)):
            continue
        if first.out_channels == second.num_features:
            setattr(module, name, fuse_conv_bn_eval(first, second))
            setattr(module, next_name, getattr(second, "act", nn.Identity()))  # timm's contain their activation
