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
from dataclasses import replace
from pathlib import Path

import torch

from trainer.data.manifest import Example, Manifest, read_manifests
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.embedding import Embedding, embedding_size, input_size
from trainer.detector.model import Detector, Head
from trainer.detector.weights import PretrainedBackbone, load_backbone
from trainer.distributed import ranks
from trainer.distributed.process import StopSignal
from trainer.distributed.ranks import Ranks
from trainer.errors import ManifestError
from trainer.fitting.head import score_embeddings
from trainer.fitting.loop import Recipe
from trainer.fitting.snapshot import Progress, Snapshot, another_run
from trainer.progress import say
from trainer.runs.fitter import Fitter
from trainer.runs.run_card import FinishedRun, make_card
from trainer.runs.run_config import RunConfig, class_weights
from trainer.runs.tracking import NONE, tracking
from trainer.runs.training_rows import training_examples


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
    train, watched = training_examples(config, manifest)
    config = replace(config, recipe=_weighted(config, train))
    shortcuts = config.intake.check(train)
    pretrained = load_backbone(config.backbone, config.weights)
    detector = new_detector(pretrained, config.embedding, config.recipe)
    if place.first and config.config_toml:
        (config.out / "config.toml").write_text(config.config_toml, encoding="utf-8")
    fitter = Fitter(config, detector, place, snapshot, stop)
    with tracking(
        config.track if place.first else NONE, config.out, config.name, snapshot.run, snapshot.settings
    ) as tracker:
        progress = fitter.fit(train, watched, tracker)
    if config.half:  # judged as it will be stored
        detector.head.layers.half().float()
    with fitter.embedded("eval", manifest.split("eval")) as held_out:
        strangers, support = fitter.strangers(manifest), fitter.support(train)  # every rank embeds its share
        if not place.first or support is None:
            return
        _write_log(config.out / "log.csv", progress)
        scores = score_embeddings(detector, held_out) if len(held_out) else None
        seconds = time.perf_counter() - began
        run = FinishedRun(config, manifest, pretrained, detector, snapshot, progress, shortcuts, seconds, place)
        card = make_card(run, scores, fitter.embedding_rate, strangers)
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


def _write_log(path: Path, progress: Progress) -> None:
    """Write each step's loss and, where pictures were watched, their loss and AUC in the rows of some steps."""
    looks = {look.step: (f"{look.loss:.6g}", f"{look.auc:.6g}") for look in progress.looks}
    watched = ["validation_loss", "validation_auc"] if looks else []
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", *watched])
        for step, loss in enumerate(progress.losses[: progress.step].tolist(), 1):
            writer.writerow([step, f"{loss:.6g}", *looks.get(step, [""] * len(watched))])
