"""From a manifest to a checkpoint: embed every picture once, fit the head, judge it on the held-out split, save."""

import csv
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from trainer import checkpoint
from trainer.card import BackboneCard, Card, DataCard, HeadCard, Quality, TrainingCard
from trainer.embed import embed
from trainer.errors import ManifestError
from trainer.evaluate import TARGET_FPR, judge, reference
from trainer.fit import Recipe, fit_head
from trainer.manifest import Example, Manifest, read
from trainer.metrics import Scores
from trainer.model import DROPOUT, HIDDEN, Detector, Head, embedding_size, trainable_parameters
from trainer.preprocess import FINGERPRINT, SIZE
from trainer.weights import Weighted, load_backbone

_INTENDED_USE = (
    "Ranks profile photos by how likely they are AI-generated, for people to review. A score is no proof; "
    "nothing should happen to an account without a person's decision."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a training run is told."""

    manifest: Path
    out: Path
    recipe: Recipe
    backbone: str = "efficientnet_b1"
    weights: str | None = None
    device: str = "cpu"
    head_only: bool = False
    half: bool = False
    name: str = "detector"
    licence: str = "not stated"


def train(plan: Plan) -> Path:
    """Run a plan and return the checkpoint that it wrote, ``out/checkpoint.safetensors``, beside ``log.csv``."""
    manifest = read(plan.manifest)
    examples = manifest.split("train")
    if len({example.fake for example in examples}) < 2:  # noqa: PLR2004 - real and fake
        raise ManifestError(f"manifest {plan.manifest}: split train must hold real and fake pictures")
    plan.out.mkdir(parents=True, exist_ok=True)
    weighted = load_backbone(plan.backbone, plan.weights)
    detector = Detector(weighted.backbone, Head(embedding_size(weighted.backbone)), weighted.mean, weighted.std)
    detector.to(plan.device)
    detector.head, loss = _fit(plan, examples, _embeddings(detector, examples, "train"))
    if plan.half:  # judged as it will be stored
        detector.head.half().float()
    card = _card(plan, manifest, weighted, detector, loss)
    path = plan.out / "checkpoint.safetensors"
    checkpoint.save(detector, card, path, torch.float16 if plan.half else torch.float32)
    return path


def _embeddings(detector: Detector, examples: Sequence[Example], what: str) -> Tensor:
    with tqdm(total=len(examples), desc=f"embed {what}", unit="image", smoothing=0.05) as bar:
        return embed(detector, [example.path for example in examples], batch=8, progress=bar.update)


def _fit(plan: Plan, examples: Sequence[Example], embeddings: Tensor) -> tuple[Head, float]:
    labels = torch.tensor([float(example.fake) for example in examples])
    with _log(plan.out / "log.csv") as write, tqdm(total=plan.recipe.steps, desc="fit", unit="step") as bar:

        def on_step(step: int, loss: Tensor) -> None:
            bar.update()
            write(step, float(loss))

        return fit_head(embeddings.to(plan.device), labels.to(plan.device), plan.recipe, on_step)


@contextmanager
def _log(path: Path) -> Iterator[Callable[[int, float], None]]:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss"])
        yield lambda step, loss: writer.writerow([step, f"{loss:.6g}"])


def _card(plan: Plan, manifest: Manifest, weighted: Weighted, detector: Detector, loss: float) -> Card:
    held_out = manifest.split("eval")
    trained_on = frozenset(example.engine for example in manifest.split("train") if example.fake)
    scores = _scores(detector, held_out) if held_out else None
    return Card(
        name=plan.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        input_size=SIZE,
        preprocess=FINGERPRINT,
        interpolation="bilinear",
        backbone=BackboneCard(
            name=weighted.name,
            weights=weighted.tag,
            sha256=weighted.sha256,
            embedding_size=detector.head[0].in_features,
            mean=weighted.mean,
            std=weighted.std,
            included=not plan.head_only,
        ),
        head=HeadCard(hidden=HIDDEN, dropout=DROPOUT, parameters=trainable_parameters(detector)),
        training=TrainingCard(
            steps=plan.recipe.steps,
            batch=plan.recipe.batch,
            learning_rate=plan.recipe.learning_rate,
            optimizer="adagrad",
            loss="binary cross-entropy",
            seed=plan.recipe.seed,
            final_loss=loss,
        ),
        data=DataCard(
            name=plan.manifest.parent.name,
            manifest_sha256=manifest.sha256,
            counts=manifest.counts(),
            licence=plan.licence,
        ),
        quality=_quality(held_out, scores, trained_on) if scores is not None else None,
        reference=reference("eval reals", held_out, scores) if scores is not None else None,
        versions={name: version(name) for name in ("torch", "timm", "pillow", "numpy")}
        | {"python": platform.python_version()},
        licence=plan.licence,
        intended_use=_INTENDED_USE,
    )


def _quality(held_out: Sequence[Example], scores: Scores, trained_on: frozenset[str]) -> Quality | None:
    """None where there are too few reals to show the target: that must not cost anyone the fit."""
    reals = sum(not example.fake for example in held_out)
    return judge(held_out, scores, trained_on) if reals * TARGET_FPR >= 1 else None


def _scores(detector: Detector, examples: Sequence[Example]) -> Scores:
    embeddings = _embeddings(detector, examples, "eval")
    with torch.inference_mode():
        logits = detector.head(embeddings.to(detector.mean.device)).squeeze(1)
        return np.asarray(torch.sigmoid(logits).double().cpu())
