"""The model card of a checkpoint; readable without torch.

It is JSON in the header of the ``.safetensors`` file: how the detector was made, on which data, how well it does, and
the scores of real photos, which give the false positive rate of any threshold.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError

from trainer.detector.card_fields import CardPart, Count, Divisor, Name, Sha256, Share, Shift, SortedScores, Text
from trainer.detector.card_results import Findings, Quality, Reference
from trainer.detector.safetensors_header import Header, HeaderError, parse_strict_json, read_header
from trainer.errors import CheckpointError

#: The key of the card in a safetensors header, and the layout of the card.
KEY = "unmask"
FORMAT = 1

#: Stands between the name of the weights and the part that was trained, where the fit trained the backbone too.
TRAINED = ", trained on: "

#: The most wrong fields that a message names, and the most characters of it.
_NAMED = 10
_LONGEST = 1000


class BackboneCard(CardPart):
    """The backbone. When ``included`` is false, its weights are not in the file but identified by ``sha256``."""

    name: Name
    weights: Name
    sha256: Sha256
    embedding: Literal["last", "multilevel"] = "last"
    embedding_size: int = Field(gt=0, le=65_536)
    mean: tuple[Shift, Shift, Shift]
    std: tuple[Divisor, Divisor, Divisor]
    #: Width and height of the pictures that it takes, in pixels; those of 512×512 are scaled to it.
    input_size: int = Field(default=512, gt=0, le=8192)
    included: bool
    #: The terms of its weights, where the user must bring them.
    licence: Text = "not stated"

    @property
    def trained(self) -> bool:
        """Whether the fit trained it too: then it is no longer that of the weights it started from."""
        return TRAINED in self.weights


class HeadCard(CardPart):
    """The head: the network that was trained.

    ``hidden`` is the width of its widest layer, 0 for a linear head. ``widths`` are those of all hidden layers; cards
    of older releases have none, and two layers.
    """

    hidden: int = Field(ge=0, le=65_536)
    widths: tuple[Annotated[int, Field(gt=0, le=65_536)], ...] | None = Field(default=None, max_length=8)
    dropout: float = Field(ge=0, lt=1)
    parameters: int = Field(gt=0, le=2**53)

    @property
    def layers(self) -> tuple[int, ...]:
        """The widths of all hidden layers."""
        return self.widths if self.widths is not None else (self.hidden, self.hidden)


class TrainingCard(CardPart):
    """How the head was fitted."""

    #: Digest of the run's settings and pictures, by which the same command recognises its own result.
    run: Name = ""
    #: What that digest is of, by which a refusal says what differs.
    settings: dict[Name, Text] = Field(default_factory=dict)
    steps: Count
    #: The number of steps that was asked for; early stopping may have ended the fit sooner.
    steps_asked: Count = 0
    batch: Count
    learning_rate: float
    optimizer: Name
    loss: Name
    scaled_features: bool = False
    label_smoothing: float = 0.0
    #: The weights of a real and of a fake picture in the loss.
    class_weights: tuple[float, float] = (1.0, 1.0)
    #: How many random views of each picture were trained on beside the picture itself.
    views: Count = 0
    normalised: bool = False
    #: How well a small tree predicts the labels from facts of the file (balanced accuracy; 0.5 is chance), and which of
    #: these facts the user accepted although they should have stopped the run.
    shortcuts: dict[Name, float] = Field(default_factory=dict)
    accepted_shortcuts: tuple[Name, ...] = ()
    weight_decay: float = 0.0
    #: Of a linear head: its penalty on squared weights, and how many blends of each fake with reals it was fitted on.
    l2: float = 0.0
    blends: Count = 0
    #: Whether a source of n pictures weighs as much as the square root of n.
    weighted_by_source: bool = False
    #: How many edits of each real picture were trained on as reals (see `trainer.pixels.edits`).
    hard_reals: Count = 0
    #: In how many parts sources were left out to score the reference reals; 0: the reference is of eval reals.
    cross_fit: Count = 0
    seed: int
    final_loss: float


class ExecutionCard(CardPart):
    """Where a fit ran, and how long it took.

    ``wall_s`` is the time of the process that finished the run; ``fit_s`` that of all steps, in earlier processes too.
    ``embedded`` counts the pictures and views that the first rank embedded and did not find in the cache.
    """

    device: Name
    ranks: Count
    precision: Name
    wall_s: float
    fit_s: float
    fit_images_per_s: float
    embedded: Count
    embedded_images_per_s: float


class DataCard(CardPart):
    """The pictures: the manifest's digest, and counts as ``{split: {engine: n}}``, with the reals under "camera"."""

    name: Name
    manifest_sha256: Sha256
    counts: dict[Name, dict[Name, Count]]
    #: The same by source and label, as ``{split: {"real" or "fake": {source: n}}}``.
    sources: dict[Name, dict[Name, dict[Name, Count]]] = Field(default_factory=dict)
    licence: Text
    #: How many rows of the manifest were left out because their files cannot be used (--skip-unreadable).
    skipped: Count = 0


class KeyCard(CardPart):
    """A detector that this one needs; its file is ``<sha256>.safetensors`` in the same folder."""

    name: Name
    sha256: Sha256


class FusionCard(CardPart):
    """Two detectors that must agree (see `trainer.detector.fusion`); the card's other parts are the first one's."""

    rule: Literal["minimum"] = "minimum"
    keys: tuple[KeyCard, KeyCard]
    #: Each detector's own ascending scores of the reference's photos; None in cards of older releases.
    references: tuple[SortedScores, SortedScores] | None = None


class QuantisedCard(CardPart):
    """An int8 network and the detector ``of`` which it was made (see `trainer.detector.scoring_network`).

    The numbers' ranges come from ``calibrated_on`` pictures. The card's quality and reference are the int8 network's;
    what it says of the backbone, the head and the training is its origin's.
    """

    runtime: Literal["openvino"] = "openvino"
    of: KeyCard
    calibrated_on: Count


class AddedEngine(CardPart):
    """An engine that was added to a fitted detector, and the forecast of what it finds at a certified threshold.

    ``tpr`` is of the engine's own faces, with its 95 % interval, ``known_tpr`` of those of engines that were known;
    both by heads that did not see them, and ``_before`` by heads without the new engine.
    """

    engine: Name
    examples: Count
    tpr: Share
    tpr_low: Share
    tpr_high: Share
    tpr_before: Share
    known_tpr: Share
    known_tpr_before: Share


class Card(CardPart):
    """The model card: everything that a checkpoint says about itself."""

    format: int = FORMAT
    name: Name
    created: Name
    input_size: Count
    preprocess: Name
    interpolation: Name
    backbone: BackboneCard
    head: HeadCard
    training: TrainingCard
    execution: ExecutionCard | None = None
    data: DataCard
    quality: Quality | None = None
    reference: Reference | None = None
    findings: Findings | None = None
    fusion: FusionCard | None = None
    quantised: QuantisedCard | None = None
    added: tuple[AddedEngine, ...] = ()
    versions: dict[Name, Name]
    licence: Text
    intended_use: Text

    @classmethod
    def read(cls, path: Path) -> Self:
        """The card of a checkpoint file; raises `CheckpointError` for any other file."""
        return cls.of(header_of(path), path)

    @classmethod
    def of(cls, header: Header, path: Path) -> Self:
        """The card in a header that was read from ``path``; raises `CheckpointError` as `read` does."""
        if KEY not in header.metadata:
            raise CheckpointError(f"checkpoint {path} has no {KEY!r} card in its header: unmask did not write it")
        return cls.parse(header.metadata[KEY], str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """A card from its JSON; raises `CheckpointError` naming up to ten wrong fields."""
        try:
            parse_strict_json(text)
            card = cls.model_validate_json(text, strict=True)
        except (ValueError, RecursionError) as error:
            wrong = _wrong(error) if isinstance(error, ValidationError) else str(error)
            raise CheckpointError(f"checkpoint {source} has a card that cannot be read: {wrong[:_LONGEST]}") from error
        if card.format > FORMAT:
            raise CheckpointError(f"checkpoint {source} has a card of format {card.format}, newer than {FORMAT}")
        return card

    @property
    def keys(self) -> tuple[KeyCard, ...]:
        """The detectors whose files this one needs beside its own."""
        if self.quantised is not None:
            return (self.quantised.of,)
        return self.fusion.keys if self.fusion is not None else ()

    @property
    def smallest_side(self) -> int:
        """The smallest side of photos, in pixels, on which the detector was tried and works; 0 if it was not tried."""
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
    """A checkpoint file's header; raises `CheckpointError` for any other file."""
    try:
        return read_header(path)
    except HeaderError as error:
        raise CheckpointError(f"checkpoint {path} {error}") from error
