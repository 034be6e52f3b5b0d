"""The networks that OpenVINO made of checkpoints, kept on disk: converting one takes half of a worker's start.

They do not lie beside the checkpoints, whose folder is trusted only as far as their digests in the record. A file holds
a network and PyTorch's scores of the known pictures. It is used only with the same checkpoint, the same releases of the
libraries and the same code of ours, and only while the network still gives those scores.
"""

import functools
import hashlib
import json
import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from trainer.detector import embedding, fusion, model, projection, scoring_network
from trainer.detector.safetensors_header import HeaderError, read_header
from trainer.detector.scoring_network import NetworkFiles
from trainer.files import atomic_write

log = logging.getLogger(__name__)

_KEY = "made_by"
_TENSORS = ("xml", "weights", "known_scores")


@dataclass(frozen=True, slots=True)
class KeptNetwork:
    """A network, and PyTorch's scores of the known pictures, (n,)."""

    files: NetworkFiles
    known_scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NetworkCache:
    """The file of one checkpoint's network; None keeps nothing."""

    file: Path | None = None

    @classmethod
    def below(cls, folder: Path | None, sha256: str) -> "NetworkCache":
        """That of the checkpoint with this digest."""
        return cls(folder / f"{sha256}.safetensors" if folder is not None else None)

    def read(self) -> KeptNetwork | None:
        """What is kept; None for any file that is not ours or was made by other releases."""
        if self.file is None:
            return None
        try:
            if read_header(self.file).metadata.get(_KEY) != made_by():
                return None
            with safe_open(self.file, framework="numpy") as file:
                xml, weights, scores = (file.get_tensor(name) for name in _TENSORS)
        except (HeaderError, OSError, SafetensorError):
            return None
        return KeptNetwork(NetworkFiles(xml.tobytes(), weights.tobytes()), scores)

    def keep(self, network: KeptNetwork) -> None:
        """Keep a network; where that is impossible, the next start converts again."""
        if self.file is None:
            return
        stored = {"xml": network.files.xml, "weights": network.files.weights}
        tensors = {name: torch.frombuffer(bytearray(data), dtype=torch.uint8) for name, data in stored.items()}
        tensors["known_scores"] = torch.from_numpy(network.known_scores.copy())
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file) as part:
                save_file(tensors, part, metadata={_KEY: made_by()})
        except (OSError, SafetensorError) as error:
            log.warning("the converted network cannot be kept in %s: %s", self.file, error)


@functools.cache
def made_by() -> str:
    """The releases and the code that a network comes from."""
    code = hashlib.sha256()
    for module in (embedding, fusion, model, projection, scoring_network):
        code.update(Path(str(module.__file__)).read_bytes())
    releases = {name: version(name) for name in ("openvino", "timm", "torch")}
    return json.dumps(releases | {"code": code.hexdigest()}, sort_keys=True)
