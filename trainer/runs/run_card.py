"""Makes the card of a finished run: its settings, its pictures, and its metrics on held-out ones."""

import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from db.stats.empirical_fpr import few_reals
from trainer.data.manifest import Example, Manifest
from trainer.data.shortcut_guard import ShortcutReport
from trainer.detector.card import TRAINED, BackboneCard, Card, DataCard, ExecutionCard, HeadCard, TrainingCard
from trainer.detector.card_results import Quality, Reference
from trainer.detector.embedding import input_fingerprint
from trainer.detector.model import Detector, count_trainable_parameters
from trainer.detector.weights import PretrainedBackbone, weights_sha256
from trainer.distributed.ranks import Ranks
from trainer.fitting.snapshot import Progress, Snapshot
from trainer.judging.evaluate import measure_quality, reference_scores
from trainer.judging.metrics import Scores
from trainer.pixels.preprocess import SIZE
from trainer.runs.run_config import RunConfig

log = logging.getLogger(__name__)

#: The reference of a card whose reals were scored by heads that their sources did not train.
STRANGERS = "real photos of sources that were left out of the fit"

_INTENDED_USE = (
    "Ranks profile photos by how likely they are AI-generated, for people to review. A score is no proof; "
    "nothing should happen to an account without a person's decision."
)

_NORMALISED = (
    "fitted with --normalise: the card's threshold, quality and reference are of normalised pictures, but workers "
    "score photos as they come, so the true FPR may differ from the card's. Before you set a threshold by its FPR, "
    "register the model and build a reference: unmask reference build NAME --manifest M (or --from-reviews)"
)


#: Packages on which a detector's scores depend.
_PACKAGES = ("torch", "timm", "pillow", "numpy", "safetensors", "scikit-learn", "unmask")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run: its settings, inputs and results, and the seconds that it took."""

    config: RunConfig
    manifest: Manifest
    pretrained: PretrainedBackbone
    detector: Detector
    snapshot: Snapshot
    progress: Progress
    shortcuts: ShortcutReport
    seconds: float
    place: Ranks


def make_card(
    run: FinishedRun,
    scores: Scores | None,
    embedded: tuple[int, float] = (0, 0.0),
    strangers: Scores | None = None,
) -> Card:
    """The card of a run; ``scores`` are (n,) of the split "eval", or None when there is none.

    ``embedded`` is how many pictures the run embedded, and in how many seconds. ``strangers`` are ascending scores of
    reals by heads that were not fitted on their sources: then these are the card's reference, and give its threshold.
    """
    held_out = run.manifest.split("eval")
    config = run.config
    if scores is not None and config.intake.normalise:
        log.warning("%s", _NORMALISED)
    return Card(
        name=config.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        input_size=SIZE,
        preprocess=input_fingerprint(run.detector.input_size, run.pretrained.mean, run.pretrained.std),
        interpolation="bilinear",
        backbone=_backbone(run),
        head=HeadCard(
            hidden=max(config.recipe.widths, default=0),
            widths=config.recipe.widths,
            dropout=config.recipe.dropout if config.recipe.widths else 0,
            parameters=count_trainable_parameters(run.detector.head),
        ),
        training=_training(run),
        execution=_execution(run, *embedded),
        data=DataCard(
            name=config.manifest.parent.name,
            manifest_sha256=run.manifest.sha256,
            counts=run.manifest.counts(),
            sources=run.manifest.sources(),
            licence=config.licence,
            skipped=len(run.manifest.skipped),
        ),
        quality=_quality(run, scores, strangers),
        reference=_reference(held_out, scores, strangers),
        versions=_versions(),
        licence=config.licence,
        intended_use=_INTENDED_USE,
    )


def _reference(held_out: Sequence[Example], scores: Scores | None, strangers: Scores | None) -> Reference | None:
    if strangers is not None:
        return Reference(name=STRANGERS, scores=tuple(round(float(score), 7) for score in strangers))
    return reference_scores("eval reals", held_out, scores) if scores is not None else None


def _backbone(run: FinishedRun) -> BackboneCard:
    trained = run.config.unfreezing.what != "none"
    return BackboneCard(
        name=run.pretrained.name,
        weights=f"{run.pretrained.tag}{TRAINED}{run.config.unfreezing.what}" if trained else run.pretrained.tag,
        sha256=weights_sha256(run.detector.backbone) if trained else run.pretrained.sha256,
        embedding=run.config.embedding,
        embedding_size=len(run.detector.head.scaling.mean),
        mean=run.pretrained.mean,
        std=run.pretrained.std,
        input_size=run.detector.input_size,
        included=trained or not run.config.head_only,
        licence=run.config.weights_licence,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()} | ({"cuda": torch.version.cuda} if torch.version.cuda else {})
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _execution(run: FinishedRun, embedded: int, embedding_s: float) -> ExecutionCard:
    pictures = run.progress.step * run.config.recipe.batch
    rounded = run.place.device.type == "cuda" and run.config.unfreezing.what != "none"
    return ExecutionCard(
        device=device_name(run.place.device)[:300],
        ranks=run.place.size,
        precision="bfloat16 where the backbone runs in training" if rounded else "float32",
        wall_s=round(run.seconds, 1),
        fit_s=round(run.progress.seconds, 1),
        fit_images_per_s=_rate(pictures, run.progress.seconds),
        embedded=embedded,
        embedded_images_per_s=_rate(embedded, embedding_s),
    )


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds > 0 else 0.0


def device_name(device: torch.device) -> str:
    """A device with the name of its model: ``cuda: NVIDIA H200``."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    information = Path("/proc/cpuinfo")  # platform.processor() knows only the architecture
    lines = information.read_text().splitlines() if information.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{device.type}: {model or platform.machine()}"


def _training(run: FinishedRun) -> TrainingCard:
    recipe, losses = run.config.recipe, run.progress.losses[: run.progress.step]
    return TrainingCard(
        run=run.snapshot.run,
        settings=dict(run.snapshot.settings),
        steps=run.progress.step,
        steps_asked=recipe.steps,
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        optimizer=recipe.optimizer if recipe.widths else "l-bfgs",
        loss="binary cross-entropy",
        scaled_features=recipe.scale or not recipe.widths,
        label_smoothing=recipe.label_smoothing,
        class_weights=recipe.class_weights,
        views=run.config.views,
        normalised=run.config.intake.normalise,
        shortcuts=run.shortcuts.card(),
        accepted_shortcuts=tuple(run.shortcuts.refused),
        weight_decay=recipe.weight_decay if recipe.optimizer == "adamw" else 0.0,
        l2=recipe.l2 if not recipe.widths else 0.0,
        blends=recipe.blends,
        weighted_by_source=recipe.weigh_sources,
        hard_reals=run.config.hard_reals,
        cross_fit=run.config.cross_fit,
        seed=recipe.seed,
        final_loss=float(losses[-100:].mean()),
    )


def _quality(run: FinishedRun, scores: Scores | None, strangers: Scores | None) -> Quality | None:
    """The metrics; None, with a warning in the log, when the held-out split has too few reals for the target."""
    if scores is None:
        return None
    trained_on = frozenset(example.engine for example in run.manifest.split("train") if example.fake)
    try:
        found = measure_quality(run.manifest.split("eval"), scores, trained_on, strangers=strangers)
    except ValueError as error:
        log.warning("the card has no quality metrics: %s", error)
        return None
    if few := few_reals(found.reals, found.target_fpr):
        log.warning("%s", few)
    return found
