"""What a checkpoint says of itself; readable without torch.

The card is JSON in the header of the ``.safetensors`` file: how the detector was made, on which data, how well it does,
and the scores of real photos from which the false positive rate of any threshold can be read.
"""

import json
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from trainer.errors import CheckpointError
from trainer.detector.fields import Count, Divisor, Name, Part, Scores, Sha256, Share, Shift, Text, Threshold
from trainer.detector.findings import Findings
from trainer.detector.header import Header, HeaderError, read_header, read_once

#: The key of the card in a safetensors header, and the layout of the card.
KEY = "unmask"
FORMAT = 1

#: What follows the name of weights, and comes before that of the part, where the fit trained the backbone as well.
TRAINED = ", trained on: "

#: Wrong fields that a message names, and characters of it.
_NAMED = 10
_LONGEST = 1000


class BackboneCard(Part):
    """The frozen network. When ``included`` is false its weights are not in the file, but known by ``sha256``."""

    name: Name
    weights: Name
    sha256: Sha256
    embedding: Literal["last", "multilevel"] = "last"
    embedding_size: int = Field(gt=0, le=65_536)
    mean: tuple[Shift, Shift, Shift]
    std: tuple[Divisor, Divisor, Divisor]
    included: bool

    @property
    def trained(self) -> bool:
        """Whether the fit trained it as well: then it is no longer that of the weights it began with."""
        return TRAINED in self.weights


class HeadCard(Part):
    """The network that was trained."""

    hidden: int = Field(gt=0, le=65_536)
    dropout: float = Field(ge=0, lt=1)
    parameters: int = Field(gt=0, le=2**53)


class TrainingCard(Part):
    """How the head was fitted."""

    #: Digest of the run's settings and pictures: the same command finds its own result by it.
    run: Name = ""
    steps: Count
    batch: Count
    learning_rate: float
    optimizer: Name
    loss: Name
    scaled_features: bool = False
    label_smoothing: float = 0.0
    #: Random views of each picture that were trained on beside the picture itself.
    views: Count = 0
    normalised: bool = False
    #: How well a small tree tells the labels from facts of the file (balanced accuracy; 0.5: not at all), and which of
    #: these should have stopped the run, but were accepted.
    shortcuts: dict[Name, float] = Field(default_factory=dict)
    accepted_shortcuts: tuple[Name, ...] = ()
    seed: int
    final_loss: float


class DataCard(Part):
    """Which pictures: the manifest's digest, and counts as ``{split: {engine: n}}``, reals under "camera"."""

    name: Name
    manifest_sha256: Sha256
    counts: dict[Name, dict[Name, Count]]
    licence: Text


class EngineMetrics(Part):
    """One synthesis engine against the reals of the same split."""

    in_training: bool
    fakes: Count
    reals: Count
    auc: Share
    tpr: Share
    f1: Share


class Quality(Part):
    """What was measured on a held-out split; ``threshold`` flags ``measured_fpr`` of its reals, at most the target."""

    split: Name
    target_fpr: Share
    threshold: Threshold
    measured_fpr: Share
    reals: Count
    engines: dict[Name, EngineMetrics]


class Reference(Part):
    """Sorted scores of real photos: the false positive rate of a threshold is the share at or above it."""

    name: Name
    scores: Scores


class Card(Part):
    """Everything that a checkpoint says of itself."""

    format: int = FORMAT
    name: Name
    created: Name
    input_size: Count
    preprocess: Name
    interpolation: Name
    backbone: BackboneCard
    head: HeadCard
    training: TrainingCard
    data: DataCard
    quality: Quality | None = None
    reference: Reference | None = None
    findings: Findings | None = None
    versions: dict[Name, Name]
    licence: Text
    intended_use: Text

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
        """A card from its JSON; the message of a `CheckpointError` names the wrong fields, up to ten."""
        try:
            read_once(text)
            card = cls.model_validate_json(text, strict=True)
        except (ValueError, RecursionError) as error:
            wrong = _wrong(error) if isinstance(error, ValidationError) else str(error)
            raise CheckpointError(f"checkpoint {source} has a card that cannot be read: {wrong[:_LONGEST]}") from error
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


def _wrong(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    named = [f"{repr('.'.join(map(str, each['loc'])))[1:-1]}: {each['msg']}" for each in found[:_NAMED]]
    return "; ".join(named + [f"and {len(found) - _NAMED} more"] * (len(found) > _NAMED))


def header_of(path: Path) -> Header:
    """A checkpoint file's header; raises `CheckpointError`."""
    try:
        return read_header(path)
    except HeaderError as error:
        raise CheckpointError(f"checkpoint {path} {error}") from error
