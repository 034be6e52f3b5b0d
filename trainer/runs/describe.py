"""The card of a run: what was done, on which pictures, and how well the result does on those that were held out."""

import logging
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from torch import Tensor

from trainer.detector.card import TRAINED, BackboneCard, Card, DataCard, HeadCard, Quality, TrainingCard
from trainer.judging.evaluate import judge, reference
from trainer.data.guard import Guard
from trainer.data.manifest import Manifest
from trainer.judging.metrics import Scores
from trainer.detector.model import DROPOUT, HIDDEN, Detector, trainable_parameters
from trainer.runs.plan import Plan
from trainer.pixels.preprocess import FINGERPRINT, SIZE
from trainer.detector.weights import Weighted, digest

log = logging.getLogger(__name__)

_INTENDED_USE = (
    "Ranks profile photos by how likely they are AI-generated, for people to review. A score is no proof; "
    "nothing should happen to an account without a person's decision."
)

_NORMALISED = (
    "fitted with --normalise: the card's threshold, quality and reference are of normalised pictures, and photos are "
    "scored as they come, so that an FPR may not be what the card says. Before a threshold is set by its FPR, register "
    "the model and make a reference of such scores: unmask reference build NAME --manifest M (or --from-reviews)"
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has come to its end."""

    plan: Plan
    manifest: Manifest
    weighted: Weighted
    detector: Detector
    id: str
    losses: Tensor
    shortcuts: Guard


def describe(run: Run, scores: Scores | None) -> Card:
    """The card; ``scores`` are those of the split "eval", where there is one."""
    held_out = run.manifest.split("eval")
    plan = run.plan
    if scores is not None and plan.intake.normalise:
        log.warning("%s", _NORMALISED)
    return Card(
        name=plan.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        input_size=SIZE,
        preprocess=FINGERPRINT,
        interpolation="bilinear",
        backbone=_backbone(run),
        head=HeadCard(hidden=HIDDEN, dropout=DROPOUT, parameters=trainable_parameters(run.detector.head)),
        training=_training(run),
        data=DataCard(
            name=plan.manifest.parent.name,
            manifest_sha256=run.manifest.sha256,
            counts=run.manifest.counts(),
            licence=plan.licence,
        ),
        quality=_quality(run, scores),
        reference=reference("eval reals", held_out, scores) if scores is not None else None,
        versions={name: version(name) for name in ("torch", "timm", "pillow", "numpy")}
        | {"python": platform.python_version()},
        licence=plan.licence,
        intended_use=_INTENDED_USE,
    )


def _backbone(run: Run) -> BackboneCard:
    trained = run.plan.unfreezing.what != "none"
    return BackboneCard(
        name=run.weighted.name,
        weights=f"{run.weighted.tag}{TRAINED}{run.plan.unfreezing.what}" if trained else run.weighted.tag,
        sha256=digest(run.detector.backbone) if trained else run.weighted.sha256,
        embedding=run.plan.embedding,
        embedding_size=len(run.detector.head.scaling.mean),
        mean=run.weighted.mean,
        std=run.weighted.std,
        included=trained or not run.plan.head_only,
    )


def _training(run: Run) -> TrainingCard:
    recipe = run.plan.recipe
    return TrainingCard(
        run=run.id,
        steps=len(run.losses),
        batch=recipe.batch,
        learning_rate=recipe.learning_rate,
        optimizer="adagrad",
        loss="binary cross-entropy",
        scaled_features=recipe.scale,
        label_smoothing=recipe.label_smoothing,
        views=run.plan.views,
        normalised=run.plan.intake.normalise,
        shortcuts=run.shortcuts.card(),
        accepted_shortcuts=tuple(run.shortcuts.refused),
        seed=recipe.seed,
        final_loss=float(run.losses[-100:].mean()),
    )


def _quality(run: Run, scores: Scores | None) -> Quality | None:
    """None, and a warning, when the held-out split holds too few reals to show the target rate."""
    if scores is None:
        return None
    trained_on = frozenset(example.engine for example in run.manifest.split("train") if example.fake)
    try:
        return judge(run.manifest.split("eval"), scores, trained_on)
    except ValueError as error:
        log.warning("the card says nothing of quality: %s", error)
        return None
