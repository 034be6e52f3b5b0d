"""Fits one detector on the share of the pictures that this rank embeds, and gives what else the run needs of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from trainer.data.manifest import Example, Manifest
from trainer.detector.model import Detector, Head
from trainer.detector.weights import weights_sha256
from trainer.distributed.process import StopSignal
from trainer.distributed.ranks import Ranks
from trainer.errors import TrainerError
from trainer.fitting.cache import Embeddings
from trainer.fitting.embed import NO_EMBEDDINGS, Embedder, Source, sources_of
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.finetune import LabelledSources, finetune
from trainer.fitting.loop import Recipe
from trainer.fitting.refit import fit_examples
from trainer.fitting.snapshot import Progress, Snapshot
from trainer.fitting.support import VIEW, Support
from trainer.judging.metrics import Scores
from trainer.pixels import views
from trainer.runs.leave_out import Refits, cross_fit
from trainer.runs.run_config import RunConfig
from trainer.runs.tracking import Tracker
from trainer.runs.training_rows import TrainingRow, row_sources, training_rows


@dataclass(frozen=True)
class Fitter:
    """The two ways to fit one detector, on this process's share of the run."""

    config: RunConfig
    detector: Detector
    place: Ranks
    snapshot: Snapshot
    stop: StopSignal

    def fit(self, train: Sequence[Example], watched: Sequence[Example], tracker: Tracker) -> Progress:
        """Fit the detector in place, on embeddings where the backbone is frozen; returns the fit's progress."""
        if self.config.end_to_end or self.config.unfreezing.what != "none":
            return self._on_pictures(train, tracker)
        return self._on_embeddings(train, watched, tracker)

    @property
    def embedding_rate(self) -> tuple[int, float]:
        """The number of pictures that this rank embedded instead of finding them in the cache, and the seconds."""
        return self._embedder.embedded, self._embedder.seconds

    def _on_embeddings(self, train: Sequence[Example], watched: Sequence[Example], tracker: Tracker) -> Progress:
        """Embed once, then fit the head on the first rank; the others' progress is empty."""
        rows = self._rows(train)
        with (
            self._embedded_rows("train", rows) as embeddings,
            self.embedded("validation", watched) as validation,
        ):
            if not self.place.first:
                return Progress(torch.empty(0))
            self.detector.head, progress = fit_examples(
                EmbeddedExamples([row.example for row in rows], embeddings),
                self.config.recipe,
                self.snapshot,
                self.place.device,
                self.stop,
                EmbeddedExamples(watched, validation) if watched else None,
                tracker,
            )
            return progress

    def support(self, train: Sequence[Example]) -> Support | None:
        """What the head was fitted on, to be kept beside the checkpoint; None on other ranks than the first."""
        rows = self._rows(train)
        examples = [replace(row.example, columns=row.example.columns | {VIEW: row.view}) for row in rows]
        with self._embedded_rows("support", rows) as embeddings:
            if not self.place.first:
                return None
            return Support(EmbeddedExamples(examples, np.array(embeddings)), weights_sha256(self.detector.backbone))

    def strangers(self, manifest: Manifest) -> Scores | None:
        """The scores of all reals by heads that were not fitted on their sources, if the run asks for them.

        None on other ranks than the first, which fits these heads.
        """
        if not self.config.cross_fit:
            return None
        rows = self._rows(manifest.split("train"))
        judged = [example for example in manifest.examples if example.split in ("train", "eval")]
        with self._embedded_rows("train", rows) as train, self.embedded("all", judged) as embeddings:
            if not self.place.first:
                return None
            refits = Refits(
                EmbeddedExamples([row.example for row in rows], train),
                EmbeddedExamples(judged, embeddings),
                self.config.recipe,
                Ranks(0, 1, self.place.device),  # only this rank has the embeddings
                self.config.out,
                self.stop,
            )
            return np.array(sorted(cross_fit(refits, self.config.cross_fit).values()))

    def _on_pictures(self, train: Sequence[Example], tracker: Tracker) -> Progress:
        """Run the backbone at every step, on every rank."""
        recipe = self.config.recipe
        _refuse_cached_only(recipe)
        names = views.random_views(self.config.views, recipe.seed)
        data = LabelledSources(self._sources(train, names), _labels(train).repeat(len(names)))
        torch.manual_seed(recipe.seed)  # the head starts as the cached fit's does
        self.detector.head = Head(len(self.detector.head.scaling.mean), recipe.widths, recipe.dropout)
        told = self.config.unfreezing, self.place, self.snapshot, self.stop
        return finetune(self.detector, data, recipe, *told, report=tracker)

    def _rows(self, train: Sequence[Example]) -> list[TrainingRow]:
        return training_rows(train, self.config.views, self.config.hard_reals, self.config.recipe.seed)

    @contextmanager
    def _embedded_rows(self, what: str, rows: Sequence[TrainingRow]) -> Iterator[Embeddings]:
        """(N, D) of rows, as `embedded`."""
        with self._gathered(what, row_sources(rows, self.config.intake)) as embeddings:
            yield embeddings

    @contextmanager
    def embedded(
        self, what: str, examples: Sequence[Example], names: Sequence[str] = (views.ORIGINAL,)
    ) -> Iterator[Embeddings]:
        """(N, D) of every example in every view, on the first rank, in a scratch file for the block's time."""
        with self._gathered(what, self._sources(examples, names)) as embeddings:
            yield embeddings

    @contextmanager
    def _gathered(self, what: str, sources: Sequence[Source]) -> Iterator[Embeddings]:
        scratch = self.config.out / f".{what}.npy"
        self._embedder.fill(sources, what)
        try:
            yield self._embedder.gather(sources, scratch) if self.place.first else NO_EMBEDDINGS
        finally:
            if self.place.first:
                scratch.unlink(missing_ok=True)

    @cached_property
    def _embedder(self) -> Embedder:
        """Made when it is first asked for: after `_on_pictures` has trained the backbone, whose digest it takes."""
        return Embedder(self.detector, self.config.cache, self.place, self.stop)

    def _sources(self, examples: Sequence[Example], names: Sequence[str]) -> list[Source]:
        return [source for name in names for source in sources_of(examples, self.config.intake.view(name))]


def _refuse_cached_only(recipe: Recipe) -> None:
    """Some options need all embeddings at hand: they change in training, or are not kept."""
    options = {
        "--patience": recipe.patience,
        "--scale": recipe.scale,
        "--head linear": not recipe.widths,
        "--weigh-sources": recipe.weigh_sources,
        "--optimizer adamw": recipe.optimizer == "adamw",
    }
    for option, asked in options.items():
        if asked:
            raise TrainerError(f"{option} needs the cached fit: it goes neither with --unfreeze nor with --end-to-end")


def _labels(examples: Sequence[Example]) -> Tensor:
    return torch.tensor([float(example.fake) for example in examples])
