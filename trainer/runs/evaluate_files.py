"""From a checkpoint and a manifest to ``metrics.json``.

    unmask evaluate --checkpoint C --manifest M --out DIR
    torchrun --standalone --nproc-per-node 8 -m trainer evaluate --checkpoint C --manifest M --out DIR

Pictures that some run has embedded before come from the cache; of the others each rank embeds its share. Then every
rank has all of them, each once, and comes to the same figures; the first one writes them down.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from trainer.detector import checkpoint
from trainer.distributed import ranks
from trainer.pixels import views
from trainer.fitting.cache import Embeddings
from trainer.detector.card import Card
from trainer.fitting.embed import Embedder, Source
from trainer.errors import TrainerError
from trainer.judging.evaluate import Terms, evaluate
from trainer.judging.evaluation import Evaluation, LeftOut
from trainer.fitting.head import score_embeddings
from trainer.data.intake import Intake
from trainer.runs.leave_out import Embedded, engines_to_leave_out, leave_one_engine_out
from trainer.fitting.loop import Recipe
from trainer.data.manifest import Example, read
from trainer.judging.metrics import Scores
from trainer.distributed.ranks import Ranks
from trainer.distributed.stop import Stop

#: The splits that are looked at; pictures in others are left alone.
_SPLITS = ("train", "eval")


def evaluate_files(
    checkpoint_path: Path,
    manifest_path: Path,
    out: Path,
    terms: Terms | None = None,
    cache: Path = Path("var/embeddings"),
    device: str = "auto",
    intake: Intake | None = None,
) -> Evaluation:
    """Judge a checkpoint on a manifest, and write ``out/metrics.json``; the same on every rank.

    Raises a `TrainerError` when it cannot be done, before anything is embedded where that can be known, and
    `trainer.distributed.stop.Stopped` after SIGTERM: what is embedded stays in the cache.
    """
    stop, terms = Stop(), terms or Terms()
    detector, card = checkpoint.load(checkpoint_path)
    _refuse_trained_backbone(card, terms)
    manifest = read(manifest_path)
    examples = [example for example in manifest.examples if example.split in _SPLITS]
    judged = partial(
        evaluate,
        examples,
        card=card,
        terms=terms,
        checkpoint_sha256=checkpoint.file_sha256(checkpoint_path),
        manifest_sha256=manifest.sha256,
    )
    _rehearse(judged, examples, terms)
    intake = intake or Intake()
    if held_out := _of(examples, "eval"):
        intake.check(held_out)
    out.mkdir(parents=True, exist_ok=True)
    with (
        ranks.joined(device, lambda: stop.asked) as place,
        TemporaryDirectory(prefix=".evaluate-", dir=out) as scratch,
    ):
        embedder = Embedder(detector, cache, place, lambda: stop.asked)
        embeddings = embedder.embed(_sources(examples, intake.view()), Path(scratch) / "all.npy", "pictures")
        with _one_thread():
            evaluation = judged(score_embeddings(detector, embeddings))
        if terms.leave_one_engine_out:
            refitting = _Refitting(embedder, place, Path(scratch), lambda: stop.asked, intake)
            evaluation = evaluation.with_left_out(refitting.rows(examples, card, terms, evaluation.target_fpr))
        if place.first:
            evaluation.write(out / "metrics.json")
    return evaluation


def _refuse_trained_backbone(card: Card, terms: Terms) -> None:
    """A backbone that was trained has seen every engine: a head fitted on it without one flatters the detector."""
    if terms.leave_one_engine_out and card.backbone.trained:
        raise TrainerError(
            f"--leave-one-engine-out refits heads on a backbone that saw no engine: that of {card.name!r} was trained "
            f"with --unfreeze ({card.backbone.weights})"
        )


@contextmanager
def _one_thread() -> Iterator[None]:
    """A score's last bits depend on how many threads share the work, and torchrun gives each rank fewer than it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rehearse(judged: Callable[[Scores], Evaluation], examples: Sequence[Example], terms: Terms) -> None:
    """Judge scores of nothing: whatever is wrong with the question shows now, and not after an hour of embedding."""
    judged(np.zeros(len(examples)))
    if terms.leave_one_engine_out:
        engines_to_leave_out(_of(examples, "train"), _of(examples, "eval"))


@dataclass(frozen=True, slots=True)
class _Refitting:
    """What the refits work with."""

    embedder: Embedder
    place: Ranks
    scratch: Path
    stopping: Callable[[], bool]
    intake: Intake

    def rows(self, examples: Sequence[Example], card: Card, terms: Terms, target_fpr: float) -> tuple[LeftOut, ...]:
        """The same training as the card's, but for the engine: its views come from the cache, too."""
        train, held_out = _of(examples, "train"), _of(examples, "eval")
        taken_in = replace(self.intake, normalise=self.intake.normalise or card.training.normalised)
        names = [taken_in.view(name) for name in views.random_views(card.training.views, card.training.seed)]
        return leave_one_engine_out(
            Embedded(train * len(names), self._embed([s for view in names for s in _sources(train, view)], "train")),
            Embedded(held_out, self._embed(_sources(held_out, self.intake.view()), "eval")),
            _recipe(card, terms.refit_steps),
            target_fpr,
            self.place,
            self.scratch,
            self.stopping,
        )

    def _embed(self, sources: Sequence[Source], split: str) -> Embeddings:
        return self.embedder.embed(sources, self.scratch / f"{split}.npy", split)


def _recipe(card: Card, steps: int | None) -> Recipe:
    training = card.training
    return Recipe(
        steps=steps or training.steps,
        batch=training.batch,
        learning_rate=training.learning_rate,
        seed=training.seed,
        scale=training.scaled_features,
        label_smoothing=training.label_smoothing,
    )


def _of(examples: Sequence[Example], split: str) -> list[Example]:
    return [example for example in examples if example.split == split]


def _sources(examples: Sequence[Example], view: str = views.ORIGINAL) -> list[Source]:
    return [Source(example.path, example.sha256, view) for example in examples]
