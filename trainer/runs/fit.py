"""Fits a detector on a manifest, and writes a checkpoint.

    python -m trainer fit --manifest faces.csv --out run/
    torchrun --standalone --nproc-per-node 8 -m trainer fit --manifest faces.csv --out run/

It works alike on one CPU, one GPU or N, on one node or several. The backbone is frozen, so every rank embeds its share
of the pictures once; then the first rank fits the head on whole batches: minutes on a CPU, seconds on a GPU. So N ranks
give the weights of one, which averages of N small batches would not (AdaGrad's first steps amplify rounding). With
--unfreeze or --end-to-end all ranks run the backbone at every step. The same command resumes a run that was killed, and
reaches the same weights; with more --steps it continues one that is finished, and reaches the weights of one run.
"""

import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from db.stats.hash_fraction import hash_fraction
from trainer.data.manifest import Example, Manifest, hold_out_groups, read_manifests
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.embedding import Embedding, embedding_size, input_size
from trainer.detector.model import Detector, Head
from trainer.detector.weights import PretrainedBackbone, load_backbone, weights_sha256
from trainer.distributed import ranks
from trainer.distributed.process import StopSignal
from trainer.distributed.ranks import Ranks
from trainer.errors import ManifestError, TrainerError
from trainer.fitting.cache import Embeddings
from trainer.fitting.embed import NO_EMBEDDINGS, Embedder, Source
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.finetune import LabelledSources, finetune
from trainer.fitting.head import score_embeddings
from trainer.fitting.loop import Recipe
from trainer.fitting.refit import fit_examples
from trainer.fitting.snapshot import Progress, Snapshot, another_run
from trainer.fitting.support import VIEW, Support
from trainer.judging.metrics import Scores
from trainer.pixels import views
from trainer.progress import say
from trainer.runs.leave_out import Refits, cross_fit
from trainer.runs.run_card import FinishedRun, make_card
from trainer.runs.run_config import RunConfig, class_weights
from trainer.runs.tracking import NONE, Tracker, tracking
from trainer.runs.training_rows import TrainingRow, training_rows

#: The most pictures of split "eval" that a fit without early stopping is watched on: a look takes half a second.
MOST_WATCHED = 2000


def fit(config: RunConfig) -> Path:
    """Do a run, or what is left of it; returns its checkpoint, ``out/checkpoint.safetensors``, beside ``log.csv``.

    Raises a `TrainerError` when the run cannot be done, and `trainer.distributed.process.Stopped` after SIGTERM, with
    all progress saved. It leaves the process as it was: its signal handlers, and torch's threads and random state.
    """
    with _borrowed(), StopSignal() as stop, ranks.join_ranks(config.device, stop) as place:
        began = time.perf_counter()
        manifest = read_manifests(config.manifests, skip_unreadable=config.skip_unreadable)
        config.out.mkdir(parents=True, exist_ok=True)
        snapshot = _snapshot(config, manifest, place)
        path = config.out / "checkpoint.safetensors"
        if is_finished(path, snapshot, config.recipe.steps):
            say(f"{path} is finished: it has all {config.recipe.steps} steps", shown=place.first)
        else:
            _run(config, manifest, snapshot, path, place, stop, began)
    return path


@contextmanager
def _borrowed() -> Iterator[None]:
    """Give torch's number of threads and its random state back at the end of the block."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _snapshot(config: RunConfig, manifest: Manifest, place: Ranks) -> Snapshot:
    run_id, settings = config.run_id(manifest), config.settings(manifest)
    return Snapshot(config.out / "state.safetensors", run_id, writes=place.first, settings=settings)


def _run(
    config: RunConfig, manifest: Manifest, snapshot: Snapshot, path: Path, place: Ranks, stop: StopSignal, began: float
) -> None:
    train, watched = _training_examples(config, manifest)
    config = replace(config, recipe=_weighted(config, train))
    shortcuts = config.intake.check(train)
    pretrained = load_backbone(config.backbone, config.weights)
    detector = new_detector(pretrained, config.embedding, config.recipe)
    if place.first and config.config_toml:
        (config.out / "config.toml").write_text(config.config_toml, encoding="utf-8")
    fitting = _Fitting(config, detector, place, snapshot, stop)
    with tracking(
        config.track if place.first else NONE, config.out, config.name, snapshot.run, snapshot.settings
    ) as tracker:
        progress = fitting.fit(train, watched, tracker)
    if config.half:  # judged as it will be stored
        detector.head.layers.half().float()
    with fitting.embedded("eval", manifest.split("eval")) as held_out:
        strangers, support = fitting.strangers(manifest), fitting.support(train)  # every rank embeds its share
        if not place.first or support is None:
            return
        _write_log(config.out / "log.csv", progress)
        scores = score_embeddings(detector, held_out) if len(held_out) else None
        seconds = time.perf_counter() - began
        run = FinishedRun(config, manifest, pretrained, detector, snapshot, progress, shortcuts, seconds, place)
        card = make_card(run, scores, fitting.embedding_rate, strangers)
        support.write(path)
        checkpoint.save(detector, card, path, torch.float16 if config.half else torch.float32)


def is_finished(path: Path, snapshot: Snapshot, steps: int) -> bool:
    """Whether this run's checkpoint exists with as many steps as were asked for.

    Raises `ManifestError` rather than let a run overwrite another's, or one with more steps, or begin anew where its
    snapshot is gone.
    """
    if not path.exists():
        return False
    training = Card.read(path).training
    if training.run != snapshot.run:
        raise ManifestError(another_run(path, training.settings, snapshot.settings))
    if training.steps > steps:
        raise ManifestError(f"{path} has {training.steps} steps, more than --steps {steps}: choose another --out")
    if training.steps_asked != steps and not snapshot.path.exists():
        raise ManifestError(
            f"{path} has {training.steps} steps and cannot be continued, because {snapshot.path.name} beside it is "
            "gone: choose another --out"
        )
    return training.steps_asked == steps


def _weighted(config: RunConfig, train: Sequence[Example]) -> Recipe:
    """The recipe with its class weights, which may depend on how many pictures there are of each."""
    fakes = sum(example.fake for example in train)
    return replace(config.recipe, class_weights=class_weights(config.class_weights, len(train) - fakes, fakes))


def new_detector(pretrained: PretrainedBackbone, embedding: Embedding, recipe: Recipe | None = None) -> Detector:
    """A detector with this backbone and an untrained head."""
    backbone = pretrained.backbone
    recipe = recipe or Recipe()
    head = Head(embedding_size(backbone, embedding), recipe.widths, recipe.dropout)
    return Detector(backbone, head, pretrained.mean, pretrained.std, embedding, input_size=input_size(backbone))


@dataclass(frozen=True)
class _Fitting:
    """The two ways to fit one detector, on this process's share of the run."""

    config: RunConfig
    detector: Detector
    place: Ranks
    snapshot: Snapshot
    stop: StopSignal

    def fit(self, train: Sequence[Example], watched: Sequence[Example], tracker: Tracker) -> Progress:
        """Fit the detector in place, on embeddings where the backbone is frozen; returns the fit's progress."""
        if self.config.end_to_end or self.config.unfreezing.what != "none":
            return self.on_pictures(train, tracker)
        return self.on_embeddings(train, watched, tracker)

    @property
    def embedding_rate(self) -> tuple[int, float]:
        """The number of pictures that this rank embedded instead of finding them in the cache, and the seconds."""
        return self._embedder.embedded, self._embedder.seconds

    def on_embeddings(self, train: Sequence[Example], watched: Sequence[Example], tracker: Tracker) -> Progress:
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

    def on_pictures(self, train: Sequence[Example], tracker: Tracker) -> Progress:
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
        intake = self.config.intake
        sources = [Source(row.example.path, row.example.sha256, intake.view(row.view)) for row in rows]
        with self._gathered(what, sources) as embeddings:
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
        """Made when it is first asked for: after `on_pictures` has trained the backbone, whose digest it takes."""
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


def sources_of(examples: Sequence[Example], view: str = views.ORIGINAL) -> list[Source]:
    """One view of the pictures of examples, in order."""
    return [Source(example.path, example.sha256, view) for example in examples]


def _training_examples(config: RunConfig, manifest: Manifest) -> tuple[list[Example], list[Example]]:
    """What is trained on, and what the fit is watched on.

    Early stopping chooses by what it watches: that is whole groups of split "train", and none of "eval". Without it,
    what is watched only shows how the fit goes: some pictures of "eval".
    """
    examples = manifest.split("train")
    if {example.fake for example in examples} != {True, False}:
        raise ManifestError(f"manifest {config.manifest}: split train must hold real and fake pictures")
    return hold_out_groups(examples) if config.recipe.patience else (examples, _sample(manifest.split("eval")))


def _sample(examples: Sequence[Example]) -> list[Example]:
    """At most `MOST_WATCHED` of these, drawn by digest; none unless there are real and fake ones."""
    drawn = sorted(examples, key=lambda example: hash_fraction(f"watch {example.sha256}".encode()))[:MOST_WATCHED]
    return drawn if {example.fake for example in drawn} == {True, False} else []


def _labels(examples: Sequence[Example]) -> Tensor:
    return torch.tensor([float(example.fake) for example in examples])


def _write_log(path: Path, progress: Progress) -> None:
    """Write each step's loss and, where pictures were watched, their loss and AUC in the rows of some steps."""
    looks = {look.step: (f"{look.loss:.6g}", f"{look.auc:.6g}") for look in progress.looks}
    watched = ["validation_loss", "validation_auc"] if looks else []
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", *watched])
        for step, loss in enumerate(progress.losses[: progress.step].tolist(), 1):
            writer.writerow([step, f"{loss:.6g}", *looks.get(step, [""] * len(watched))])
