"""From a manifest to a checkpoint.

    python -m trainer fit --manifest faces.csv --out run/
    torchrun --standalone --nproc-per-node 8 -m trainer fit --manifest faces.csv --out run/

The same on one CPU, one GPU, or N, on one node or several. The backbone is frozen, so every rank embeds its share of
the pictures, once; then the first rank fits the head, whole batches at a time: minutes on a CPU, seconds on a GPU. So N
ranks give the weights of one, which an average of N small batches would not (AdaGrad's first steps amplify rounding).
With --unfreeze or --end-to-end all ranks run the backbone at every step. Killed and started again, the same command
goes on where it was, to the same weights.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from trainer.detector import checkpoint
from trainer.distributed import ranks
from trainer.pixels import views
from trainer.fitting.cache import Embeddings
from trainer.detector.card import Card
from trainer.runs.describe import Run, describe
from trainer.fitting.embed import NONE, Embedder, Source
from trainer.errors import ManifestError, TrainerError
from trainer.fitting.finetune import Pictures, finetune
from trainer.fitting.head import Labelled, fit_head, score_embeddings
from trainer.data.holdout import hold_out
from trainer.data.manifest import Example, Manifest, read
from trainer.detector.model import Detector, Embedding, Head, embedding_size
from trainer.runs.plan import Plan
from trainer.distributed.ranks import Ranks
from trainer.fitting.snapshot import Snapshot
from trainer.distributed.stop import Stop
from trainer.detector.weights import Weighted, load_backbone


def fit(plan: Plan) -> Path:
    """Run a plan, or what is left of it; returns its checkpoint, ``out/checkpoint.safetensors``, beside ``log.csv``.

    Raises a `TrainerError` when the plan cannot be run, and `trainer.distributed.stop.Stopped` after SIGTERM, with all saved.
    """
    stop = Stop()
    with ranks.joined(plan.device, lambda: stop.asked) as place:
        manifest = read(plan.manifest)
        plan.out.mkdir(parents=True, exist_ok=True)
        run_id, path = plan.run_id(manifest), plan.out / "checkpoint.safetensors"
        if not finished(path, run_id):
            _run(plan, manifest, run_id, path, place, stop)
    return path


def _run(plan: Plan, manifest: Manifest, run_id: str, path: Path, place: Ranks, stop: Stop) -> None:
    shortcuts = plan.intake.check(_train_examples(plan, manifest)[0])
    weighted = load_backbone(plan.backbone, plan.weights)
    detector = new_detector(weighted, plan.embedding)
    snapshot = Snapshot(plan.out / "state.safetensors", run_id, writes=place.first)
    if plan.end_to_end or plan.unfreezing.what != "none":
        losses = _fit_pictures(plan, manifest, detector, place, snapshot, stop)
    else:
        losses = _fit_cached(plan, manifest, detector, place, snapshot, stop)
    if plan.half:  # judged as it will be stored
        detector.head.layers.half().float()
    with _embedded(plan, detector, place, stop, "eval", manifest.split("eval")) as held_out:
        if not place.first:
            return
        _write_log(plan.out / "log.csv", losses)
        scores = score_embeddings(detector, held_out) if len(held_out) else None
        card = describe(Run(plan, manifest, weighted, detector, run_id, losses, shortcuts), scores)
        checkpoint.save(detector, card, path, torch.float16 if plan.half else torch.float32)
        snapshot.path.unlink(missing_ok=True)  # what it was for is done


def finished(path: Path, run_id: str) -> bool:
    """Whether this run's checkpoint is there already; refuses to overwrite another run's."""
    if not path.exists():
        return False
    if Card.read(path).training.run != run_id:
        raise ManifestError(f"{path} is of a run with other settings or pictures: choose another --out")
    return True


def new_detector(weighted: Weighted, embedding: Embedding) -> Detector:
    """A detector with this backbone, and a head that has learnt nothing."""
    head = Head(embedding_size(weighted.backbone, embedding))
    return Detector(weighted.backbone, head, weighted.mean, weighted.std, embedding)


def _fit_cached(
    plan: Plan, manifest: Manifest, detector: Detector, place: Ranks, snapshot: Snapshot, stop: Stop
) -> Tensor:
    """Embed once, then fit on the first rank."""
    train, watched = _train_examples(plan, manifest)
    names = views.random_views(plan.views, plan.recipe.seed)
    with (
        _embedded(plan, detector, place, stop, "train", train, names) as embeddings,
        _embedded(plan, detector, place, stop, "validation", watched) as validation,
    ):
        if not place.first:
            return torch.empty(0)
        data = Labelled(embeddings, _labels(train).repeat(len(names)).to(place.device))
        watch = Labelled(validation, _labels(watched).to(place.device)) if watched else None
        detector.head, losses = fit_head(data, plan.recipe, snapshot, lambda: stop.asked, watch)
        return losses


def _fit_pictures(
    plan: Plan, manifest: Manifest, detector: Detector, place: Ranks, snapshot: Snapshot, stop: Stop
) -> Tensor:
    """The backbone runs at every step, on every rank."""
    _refuse_cached_only(plan)
    train, _ = _train_examples(plan, manifest)
    names = views.random_views(plan.views, plan.recipe.seed)
    sources = [source for name in names for source in sources_of(train, plan.intake.view(name))]
    data = Pictures(sources, _labels(train).repeat(len(names)))
    torch.manual_seed(plan.recipe.seed)  # the same head to begin with as the cached fit's
    detector.head = Head(len(detector.head.scaling.mean))
    return finetune(detector, data, plan.recipe, plan.unfreezing, place, snapshot, lambda: stop.asked)


def _refuse_cached_only(plan: Plan) -> None:
    """What is measured on all embeddings cannot be had when they change, or are not kept."""
    for option, asked in (("--patience", plan.recipe.patience), ("--scale", plan.recipe.scale)):
        if asked:
            raise TrainerError(f"{option} needs the cached fit: it goes neither with --unfreeze nor with --end-to-end")


@contextmanager
def _embedded(
    plan: Plan,
    detector: Detector,
    place: Ranks,
    stop: Stop,
    what: str,
    examples: Sequence[Example],
    names: Sequence[str] = (views.ORIGINAL,),
) -> Iterator[Embeddings]:
    """(N, D) of every example in every view, on the first rank, in a scratch file for the block's time."""
    scratch = plan.out / f".{what}.npy"
    embedder = Embedder(detector, plan.cache, place, lambda: stop.asked)
    sources = [source for name in names for source in sources_of(examples, plan.intake.view(name))]
    embedder.fill(sources, what)
    try:
        yield embedder.gather(sources, scratch) if place.first else NONE
    finally:
        if place.first:
            scratch.unlink(missing_ok=True)


def sources_of(examples: Sequence[Example], view: str = views.ORIGINAL) -> list[Source]:
    """The pictures of examples, as one of their views."""
    return [Source(example.path, example.sha256, view) for example in examples]


def _train_examples(plan: Plan, manifest: Manifest) -> tuple[list[Example], list[Example]]:
    """What is trained on, and what is watched: whole groups, and none of the split that judges."""
    examples = manifest.split("train")
    if {example.fake for example in examples} != {True, False}:
        raise ManifestError(f"manifest {plan.manifest}: split train must hold real and fake pictures")
    return hold_out(examples) if plan.recipe.patience else (examples, [])


def _labels(examples: Sequence[Example]) -> Tensor:
    return torch.tensor([float(example.fake) for example in examples])


def _write_log(path: Path, losses: Tensor) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss"])
        writer.writerows((step, f"{loss:.6g}") for step, loss in enumerate(losses.tolist(), 1))
