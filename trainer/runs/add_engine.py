"""Adds an engine to a detector from a handful of its pictures: refits the head, and forecasts what that does.

The rows that the head was fitted on come from the checkpoint's support, so no training photo is needed. The new engine
weighs as much as an average source of fakes, however few its pictures are. The forecast leaves out a part of the new
pictures, of the known fakes and of the real sources in turn, and scores each part by heads that did not see it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from db.stats.certification import TooFewRealsError, certify
from db.stats.empirical_fpr import RealScores
from db.stats.hash_fraction import hash_fraction
from db.stats.intervals import wilson
from trainer.data.folders import SUFFIXES
from trainer.data.manifest import Example
from trainer.detector import checkpoint
from trainer.detector.card import AddedEngine, Card
from trainer.detector.card_results import CertifiedQuality, Quality, Reference
from trainer.detector.model import Detector, Head
from trainer.distributed import ranks
from trainer.distributed.process import StopSignal
from trainer.distributed.ranks import Ranks
from trainer.errors import CheckpointError, ManifestError
from trainer.fitting.embed import Embedder, sources_of
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.head import score_rows
from trainer.fitting.loop import Recipe
from trainer.fitting.refit import example_weights, fit_examples, with_average_source
from trainer.fitting.snapshot import Snapshot
from trainer.fitting.support import VIEW, Support, read_support
from trainer.judging.evaluate import TARGET_FPR
from trainer.judging.metrics import Scores, certified_threshold, rate_at
from trainer.pixels import views
from trainer.runs.evaluate import recipe_of
from trainer.runs.leave_out import real_folds
from trainer.runs.run_card import STRANGERS

#: Fewer pictures than this show an engine's faces by chance.
FEWEST = 5
#: In how many parts the forecast leaves pictures out.
FOLDS = 4


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a refit is expected to do at a certified threshold: shares of faces found, by heads that did not see them.

    ``before`` is without the new engine's pictures. ``reals`` are the ascending scores of the real ones.
    """

    examples: int
    found: float
    found_before: float
    known: float
    known_before: float
    reals: Scores

    def card(self, name: str) -> AddedEngine:
        """The forecast as a card carries it, with the interval of the share that will be found."""
        share = wilson(round(self.found * self.examples), self.examples)
        return AddedEngine(
            engine=name,
            examples=self.examples,
            tpr=self.found,
            tpr_low=share.low,
            tpr_high=share.high,
            tpr_before=self.found_before,
            known_tpr=self.known,
            known_tpr_before=self.known_before,
        )


def add_engine(
    name: str,
    folder: Path,
    checkpoint_path: Path,
    out: Path,
    cache: Path = Path("var/embeddings"),
    device: str = "auto",
) -> AddedEngine:
    """Write a checkpoint whose head also knows the pictures in ``folder``, with its support, to ``out``.

    Raises `CheckpointError` for a checkpoint without its support, `ManifestError` for a folder with fewer than `FEWEST`
    pictures or with one that cannot be used, and `Stopped` after SIGTERM.
    """
    detector, card = checkpoint.load(checkpoint_path)
    if card.quantised is not None:
        raise CheckpointError(
            f"checkpoint {checkpoint_path} is int8 and cannot learn an engine: add it to {card.quantised.of.name!r} "
            "and quantise the result"
        )
    support = _support(card, checkpoint_path)
    if name in {example.engine for example in support.rows.examples}:
        raise ManifestError(f"engine {name!r} is among those that {card.name!r} was fitted on: choose another name")
    examples = _pictures(name, folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with StopSignal() as stop, ranks.join_ranks(device, stop) as place, TemporaryDirectory(dir=out.parent) as scratch:
        new = _embedded(examples, card, Embedder(detector, cache, place, stop), Path(scratch))
        refitting = Refitting(support.rows, new, recipe_of(card), place, Path(scratch), stop)
        forecast = refitting.forecast()
        head = refitting.head(support.rows + new)
        added = forecast.card(name)
        if place.first:
            _write(detector, head, _card(card, name, added, forecast.reals), out)
            Support(support.rows + new, support.backbone_sha256).write(out)
    return added


def _support(card: Card, path: Path) -> Support:
    if card.backbone.trained:
        raise CheckpointError(f"checkpoint {path} has a backbone that was trained with its head: fit it again instead")
    return read_support(path, card.backbone.sha256)


def _pictures(name: str, folder: Path) -> list[Example]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(paths) < FEWEST:
        raise ManifestError(f"folder {folder} has {len(paths)} pictures ({', '.join(SUFFIXES)}), fewer than {FEWEST}")
    columns = {"source": f"engine add {name}"}
    digests = {checkpoint.file_sha256(path): path for path in paths}  # a copy of a picture is no second one
    return [Example(path, True, name, "train", digest, digest, columns) for digest, path in digests.items()]  # noqa: FBT003 - a fake


def _embedded(examples: Sequence[Example], card: Card, embedder: Embedder, scratch: Path) -> EmbeddedExamples:
    """The pictures and their views, as the card's fit made them."""
    names = views.random_views(card.training.views, card.training.seed)
    prepared = [views.join_views("normal:0", view) if card.training.normalised else view for view in names]
    sources = [source for view in prepared for source in sources_of(examples, view)]
    embeddings = embedder.embed(sources, scratch / "new.npy", "new pictures")
    rows = [replace(e, columns=e.columns | {VIEW: view}) for view in names for e in examples]
    return EmbeddedExamples(rows, np.array(embeddings))


@dataclass(frozen=True, slots=True)
class Refitting:
    """Refits a head on known rows and those of a new engine."""

    known: EmbeddedExamples
    new: EmbeddedExamples
    recipe: Recipe
    place: Ranks
    scratch: Path
    stopping: Callable[[], bool] = lambda: False

    def head(self, rows: EmbeddedExamples) -> Head:
        """The head that these rows give; those of the new engine weigh as much as an average source of fakes."""
        recipe = replace(self.recipe, weigh_sources=True, patience=0)
        weights = with_average_source(rows, example_weights(rows, recipe), self.new.examples[0].source)
        with TemporaryDirectory(dir=self.scratch) as folder:
            snapshot = Snapshot(Path(folder) / "state.safetensors", "engine add")
            data = replace(rows, weights=weights)
            head, _ = fit_examples(data, recipe, snapshot, self.place.device, self.stopping)
        return head

    def forecast(self) -> Forecast:
        """Scores of every part by heads that did not see it, with the new engine and without."""
        whole = self.known + self.new
        parts = self._parts(whole)
        first = np.array([not example.columns.get(VIEW) for example in whole.examples])
        new = np.array([example.source == self.new.examples[0].source for example in whole.examples])
        after, before = np.zeros(len(whole.examples)), np.zeros(len(whole.examples))
        for part in range(FOLDS):
            judged = np.flatnonzero(parts == part)
            after[judged] = self._scores(whole, np.flatnonzero(parts != part), judged)
            before[judged] = self._scores(whole, np.flatnonzero((parts != part) & ~new), judged)
        reals, ours, others = first & ~whole.fake, first & new, first & whole.fake & ~new
        then, now = (certified_threshold(scores[reals], TARGET_FPR) for scores in (before, after))
        return Forecast(
            examples=int(ours.sum()),
            found=float(np.mean(after[ours] >= now)),
            found_before=float(np.mean(before[ours] >= then)),
            known=float(np.mean(after[others] >= now)),
            known_before=float(np.mean(before[others] >= then)),
            reals=np.sort(after[reals]),
        )

    def _scores(self, whole: EmbeddedExamples, fitted: NDArray[np.intp], judged: NDArray[np.intp]) -> Scores:
        return score_rows(self.head(whole.chosen(fitted)), whole.embeddings[judged])

    def _parts(self, whole: EmbeddedExamples) -> NDArray[np.intp]:
        """The part of each row: of reals by source, of known fakes by group, of new ones in turn; views with theirs."""
        folds = real_folds(whole.examples, FOLDS)
        parts = [_by_group(e) if e.fake else fold for e, fold in zip(whole.examples, folds, strict=True)]
        turns = {group: turn % FOLDS for turn, group in enumerate(dict.fromkeys(e.group for e in self.new.examples))}
        parts[len(self.known.examples) :] = [turns[example.group] for example in self.new.examples]
        return np.array(parts, dtype=np.intp)


def _by_group(example: Example) -> int:
    return int(hash_fraction(f"part {example.group}".encode()) * FOLDS)


def _card(card: Card, name: str, added: AddedEngine, reals: Scores) -> Card:
    """The card of the refitted detector; what was measured of the old head is gone."""
    counts = {split: dict(engines) for split, engines in card.data.counts.items()}
    counts.setdefault("train", {})[name] = added.examples
    return card.model_copy(
        update={
            "name": f"{card.name}+{name}"[:300],
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": card.data.model_copy(update={"counts": counts}),
            "training": card.training.model_copy(update={"run": "", "cross_fit": FOLDS}),
            "quality": _quality(reals),
            "reference": Reference(name=STRANGERS, scores=tuple(round(float(score), 7) for score in reals)),
            "findings": None,
            "added": (*card.added, added),
        }
    )


def _quality(reals: Scores) -> Quality | None:
    """The certified threshold; None where there are too few reals for one."""
    try:
        found = certify(RealScores("reals", np.sort(reals).tolist()), TARGET_FPR)
    except TooFewRealsError:
        return None
    return Quality(
        split="train",
        target_fpr=TARGET_FPR,
        threshold=found.threshold,
        measured_fpr=rate_at(reals, found.threshold),
        fpr_bound=found.bound,
        reals=len(reals),
        unseen_sources=True,
        engines={},
        certified=CertifiedQuality(
            confidence=found.confidence, allowed=found.allowed, threshold=found.threshold, bound=found.bound, tpr={}
        ),
    )


def _write(detector: Detector, head: Head, card: Card, out: Path) -> None:
    detector.head = head.cpu()
    checkpoint.save(detector.eval(), card, out)
