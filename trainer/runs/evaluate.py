"""Evaluates a checkpoint on a manifest, and writes ``metrics.json``, ``scores.csv`` and ``gallery.html``.

    unmask evaluate --checkpoint C --manifest M --out DIR
    torchrun --standalone --nproc-per-node 8 -m trainer evaluate --checkpoint C --manifest M --out DIR

Pictures that any run has embedded before come from the cache; each rank embeds its share of the others. Then every rank
has all embeddings, each once, and computes the same metrics; the first rank writes them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from trainer.data.manifest import Example, Manifest, read_manifests
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.model import Detector
from trainer.distributed import ranks
from trainer.distributed.process import Stopped, StopSignal
from trainer.distributed.ranks import Ranks
from trainer.errors import TrainerError
from trainer.explain.photo import explain, overlay, with_legend
from trainer.fitting.cache import Embeddings
from trainer.fitting.embed import Embedder, sources_of
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.loop import Recipe
from trainer.judging.evaluate import EvaluationTerms, evaluate
from trainer.judging.metrics import Scores
from trainer.judging.results import Evaluation, LeftOut
from trainer.pixels.preprocess import decode
from trainer.report.gallery import write_gallery
from trainer.report.score_table import write_scores
from trainer.runs.leave_out import Refits, leave_out, names_to_leave_out
from trainer.runs.scoring import SourceScorer
from trainer.runs.training_rows import row_sources, training_rows

log = logging.getLogger(__name__)

#: The splits to evaluate; pictures in others are ignored.
_SPLITS = ("train", "eval")


def evaluate_files(
    checkpoint_path: Path,
    manifests: Path | Sequence[Path],
    out: Path,
    terms: EvaluationTerms | None = None,
    cache: Path = Path("var/embeddings"),
    device: str = "auto",
    intake: ShortcutOptions | None = None,
) -> Evaluation:
    """Evaluate a checkpoint on a manifest, or several; returns the same on every rank.

    The first rank writes ``out/metrics.json``, ``out/scores.csv`` and ``out/gallery.html``.

    Raises a `TrainerError` when it cannot be done, before anything is embedded where possible, and
    `trainer.distributed.process.Stopped` after SIGTERM: embeddings stay in the cache.
    """
    terms, intake = terms or EvaluationTerms(), intake or ShortcutOptions()
    with StopSignal() as stop:
        detector, card = checkpoint.load(checkpoint_path)
        _refuse_refit(card, terms)
        paths = [manifests] if isinstance(manifests, Path) else manifests
        manifest = read_manifests(paths, skip_unreadable=terms.skip_unreadable)
        examples = [example for example in manifest.examples if example.split in _SPLITS]
        judged = _judge(checkpoint_path, card, manifest, examples, terms)
        _rehearse(judged, examples, terms)
        if held_out := _of(examples, "eval"):
            intake.check(held_out)
        out.mkdir(parents=True, exist_ok=True)
        with (
            ranks.join_ranks(device, stop) as place,
            TemporaryDirectory(prefix=".evaluate-", dir=out) as scratch,
        ):
            scorer = SourceScorer(cache, place, stop, Path(scratch))
            scores = scorer.scores(detector, sources_of(examples, intake.view()), "pictures")
            evaluation = judged(scores).model_copy(update={"skipped": len(manifest.skipped)})
            if terms.leave_out:
                refitting = _Refitting(Embedder(detector, cache, place, stop), place, Path(scratch), stop, intake)
                evaluation = evaluation.with_left_out(refitting.left_out(examples, card, terms, evaluation.target_fpr))
            if place.first:
                heatmap = _Heatmaps(detector, examples, scores, terms.heatmaps, stop)
                _write_results(out, evaluation, examples, scores, paths[0].parent, card.name, heatmap)
    return evaluation


def _judge(
    path: Path, card: Card, manifest: Manifest, examples: Sequence[Example], terms: EvaluationTerms
) -> Callable[[Scores], Evaluation]:
    """What makes an evaluation of the examples' scores."""
    return partial(
        evaluate,
        examples,
        card=card,
        terms=terms,
        checkpoint_sha256=checkpoint.file_sha256(path),
        manifest_sha256=manifest.sha256,
    )


def _write_results(
    out: Path,
    evaluation: Evaluation,
    examples: Sequence[Example],
    scores: Scores,
    folder: Path,
    name: str,
    heatmap: "_Heatmaps",
) -> None:
    """Write the files of an evaluation; the score table names the pictures below ``folder`` by their relative paths."""
    evaluation.write(out / "metrics.json")
    write_scores(out / "scores.csv", examples, scores, evaluation.threshold, folder)
    write_gallery(out / "gallery.html", name, examples, scores, evaluation.threshold, heatmap)


def _refuse_refit(card: Card, terms: EvaluationTerms) -> None:
    """Raise `TrainerError` for two keys, an int8 network, and a trained backbone, which has seen every engine."""
    if terms.leave_out and card.fusion is not None:
        raise TrainerError(f"--leave-out refits one detector, but {card.name!r} has two keys: name one")
    if terms.leave_out and card.quantised is not None:
        raise TrainerError(f"--leave-out refits a head, but {card.name!r} is int8: name {card.quantised.of.name!r}")
    if terms.leave_out and card.backbone.trained:
        raise TrainerError(
            f"--leave-out needs a backbone that saw no engine, but that of {card.name!r} was trained with "
            f"--unfreeze ({card.backbone.weights})"
        )


class _Heatmaps:
    """Draws the heatmaps of the ``count`` highest reals and of the lowest fakes of each engine.

    Each takes half a minute on two cores.
    """

    def __init__(
        self, detector: Detector, examples: Sequence[Example], scores: Scores, count: int, stopping: StopSignal
    ) -> None:
        self._detector, self._stopping = detector, stopping
        self._chosen = _most_telling(examples, scores, count)

    def __call__(self, example: Example) -> Image.Image | None:
        if example.path not in self._chosen:
            return None
        if self._stopping():
            raise Stopped
        pixels = decode(example.path.read_bytes()).pixels
        try:
            found = explain(self._detector, pixels)
        except TrainerError as error:
            log.warning("%s has no heatmap: %s", example.path, error)
            return None
        return with_legend(overlay(pixels, found.attribution), found.score)


def _most_telling(examples: Sequence[Example], scores: Scores, count: int) -> set[Path]:
    strata: dict[str, list[tuple[float, Path]]] = {}
    for example, score in zip(examples, scores.tolist(), strict=True):
        if example.split == "eval":
            strata.setdefault(f"fake {example.engine}" if example.fake else "real", []).append(
                (score if example.fake else -score, example.path)
            )
    return {path for stratum in strata.values() for _, path in sorted(stratum)[:count]}


def _rehearse(judged: Callable[[Scores], Evaluation], examples: Sequence[Example], terms: EvaluationTerms) -> None:
    """Evaluate made-up scores: what is wrong with the request shows now, not after an hour of embedding."""
    judged(np.zeros(len(examples)))
    train = _of(examples, "train")
    for kind in terms.leave_out:
        names_to_leave_out(kind, train)


@dataclass(frozen=True, slots=True)
class _Refitting:
    """Prepares refits of the card's training on what the manifest holds."""

    embedder: Embedder
    place: Ranks
    scratch: Path
    stopping: Callable[[], bool]
    intake: ShortcutOptions

    def left_out(self, examples: Sequence[Example], card: Card, terms: EvaluationTerms, target_fpr: float) -> LeftOut:
        """What detectors find that were fitted as the card's was, without a family, engine or source each."""
        sources = sources_of(examples, self.intake.view())
        embeddings = self.embedder.embed(sources, self.scratch / "all.npy", "pictures")
        refits = self._refits(examples, embeddings, card, terms)
        return leave_out(refits, terms.leave_out, target_fpr, terms.folds)

    def _refits(
        self, examples: Sequence[Example], embeddings: Embeddings, card: Card, terms: EvaluationTerms
    ) -> Refits:
        """Train as the card was, with its views and edits from the cache too; judge all ``examples``."""
        train = _of(examples, "train")
        taken_in = replace(self.intake, normalise=self.intake.normalise or card.training.normalised)
        rows = training_rows(train, card.training.views, card.training.hard_reals, card.training.seed)
        embedded = self.embedder.embed(row_sources(rows, taken_in), self.scratch / "train.npy", "train")
        return Refits(
            EmbeddedExamples([row.example for row in rows], embedded),
            EmbeddedExamples(examples, embeddings),
            recipe_of(card, terms.refit_steps),
            self.place,
            self.scratch,
            self.stopping,
        )


def recipe_of(card: Card, steps: int | None = None) -> Recipe:
    """The recipe that a card's head was fitted by, with other ``steps`` if asked."""
    training = card.training
    return Recipe(
        steps=steps or training.steps,
        batch=training.batch,
        learning_rate=training.learning_rate,
        seed=training.seed,
        scale=training.scaled_features,
        label_smoothing=training.label_smoothing,
        widths=card.head.layers,
        dropout=card.head.dropout,
        optimizer="adamw" if training.optimizer == "adamw" else "adagrad",
        weight_decay=training.weight_decay,
        l2=training.l2,
        blends=training.blends,
        weigh_sources=training.weighted_by_source,
    )


def _of(examples: Sequence[Example], split: str) -> list[Example]:
    return [example for example in examples if example.split == split]
