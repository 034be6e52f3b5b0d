"""What a checkpoint says of itself; readable without torch.

The card is JSON in the header of the ``.safetensors`` file: how the detector was made, on which data, how well it does,
and the scores of real photos from which the false positive rate of any threshold can be read.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.errors import CheckpointError
from trainer.findings import Findings
from trainer.header import Header, HeaderError, read_header

#: The key of the card in a safetensors header, and the layout of the card.
KEY = "unmask"
FORMAT = 1

Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class BackboneCard(_Part):
    """The frozen network. When ``included`` is false its weights are not in the file, but known by ``sha256``."""

    name: str
    weights: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    embedding: Literal["last", "multilevel"] = "last"
    embedding_size: int = Field(gt=0, le=65_536)
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    included: bool


class HeadCard(_Part):
    """The network that was trained."""

    hidden: int = Field(gt=0, le=65_536)
    dropout: float = Field(ge=0, lt=1)
    parameters: int = Field(gt=0)


class TrainingCard(_Part):
    """How the head was fitted."""

    #: Digest of the run's settings and pictures: the same command finds its own result by it.
    run: str = ""
    steps: int
    batch: int
    learning_rate: float
    optimizer: str
    loss: str
    scaled_features: bool = False
    label_smoothing: float = 0.0
    #: Random views of each picture that were trained on beside the picture itself.
    views: int = 0
    normalised: bool = False
    #: How well a small tree tells the labels from facts of the file (balanced accuracy; 0.5: not at all), and which of
    #: these should have stopped the run, but were accepted.
    shortcuts: dict[str, float] = {}
    accepted_shortcuts: tuple[str, ...] = ()
    seed: int
    final_loss: float


class DataCard(_Part):
    """Which pictures: the manifest's digest, and counts as ``{split: {engine: n}}``, reals under "camera"."""

    name: str
    manifest_sha256: str
    counts: dict[str, dict[str, int]]
    licence: str


class EngineMetrics(_Part):
    """One synthesis engine against the reals of the same split."""

    in_training: bool
    fakes: int
    reals: int
    auc: float
    tpr: float
    f1: float


class Quality(_Part):
    """What was measured on a held-out split; ``threshold`` flags ``measured_fpr`` of its reals, at most the target."""

    split: str
    target_fpr: float
    threshold: float
    measured_fpr: float
    reals: int
    engines: dict[str, EngineMetrics]


class Reference(_Part):
    """Sorted scores of real photos: the false positive rate of a threshold is the share at or above it."""

    name: str
    scores: tuple[float, ...]


class Card(_Part):
    """Everything that a checkpoint says of itself."""

    format: int = FORMAT
    name: str
    created: str
    input_size: int
    preprocess: str
    interpolation: str
    backbone: BackboneCard
    head: HeadCard
    training: TrainingCard
    data: DataCard
    quality: Quality | None = None
    reference: Reference | None = None
    findings: Findings | None = None
    versions: dict[str, str]
    licence: str
    intended_use: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """The card of a checkpoint file; raises `CheckpointError` for anything that is not one."""
        return cls.of(header_of(path), path)

    @classmethod
    def of(cls, header: Header, path: Path) -> Self:
        """The card in a header that was read from ``path``."""
        if KEY not in header.metadata:
            raise CheckpointError(f"checkpoint {path} has no {KEY!r} card in its header: unmask did not write it")
        return cls.parse(header.metadata[KEY], str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """A card from its JSON; the message of a `CheckpointError` names every wrong field."""
        try:
            card = cls.model_validate_json(text)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise CheckpointError(f"checkpoint {source} has a card that cannot be read: {wrong}") from error
        if card.format > FORMAT:
            raise CheckpointError(f"checkpoint {source} has a card of format {card.format}, newer than {FORMAT}")
        return card

    @property
    def smallest_side(self) -> int:
        """Of photos that the detector is for, as far as it was tried; 0 when it was not."""
        sweep = self.findings.robustness if self.findings is not None else None
        return sweep.smallest_side if sweep is not None else 0

    def json_text(self) -> str:
        """The card as it is stored, keys in a fixed order."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))


def header_of(path: Path) -> Header:
    """A checkpoint file's header; raises `CheckpointError`."""
    try:
        return read_header(path)
    except HeaderError as error:
        raise CheckpointError(f"checkpoint {path} {error}") from error
