"""Joins two checkpoints into one whose photos are suspicious only to both, and measures that rule as a whole.

unmask fuse FIRST SECOND --manifest M --out DIR/two-keys.safetensors
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from trainer.data.manifest import Example, Manifest, read_manifests
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector import checkpoint
from trainer.detector.card import Card, DataCard, FusionCard, KeyCard
from trainer.detector.card_results import Quality
from trainer.detector.fusion import LEAST_REALS, FusedDetector, fuse_scores, scales_from
from trainer.detector.model import Detector
from trainer.distributed import ranks
from trainer.distributed.process import StopSignal
from trainer.errors import CheckpointError, ManifestError
from trainer.files import atomic_write
from trainer.fitting.embed import Source
from trainer.judging.evaluate import TARGET_FPR, measure_quality, reference_scores
from trainer.judging.metrics import Scores
from trainer.runs.scoring import SourceScorer


@dataclass(frozen=True, slots=True)
class Key:
    """One of the two detectors, with its card and its file."""

    path: Path
    detector: Detector
    card: Card

    @classmethod
    def open(cls, path: Path) -> "Key":
        """A checkpoint of one detector; raises `CheckpointError` for others."""
        detector, card = checkpoint.load(path)
        if card.fusion is not None:
            raise CheckpointError(f"checkpoint {path} has two keys itself: give the two that it was made from")
        if card.quantised is not None:
            raise CheckpointError(f"checkpoint {path} is int8, which cannot be a key: give {card.quantised.of.name!r}")
        return cls(path, detector, card)


@dataclass(frozen=True, slots=True)
class FusionOptions:
    """The new detector's name, the rate at which it is compared with its keys, and where the work is done."""

    name: str
    target_fpr: float = TARGET_FPR
    cache: Path = Path("var/embeddings")
    device: str = "auto"


def fuse_files(
    checkpoints: tuple[Path, Path], manifests: Sequence[Path], out: Path, options: FusionOptions
) -> dict[str, Quality]:
    """Write the checkpoint ``out`` and, beside it, copies of both files; returns each key's quality and the rule's.

    The scales come from the real photos of the manifest's split eval, and so do the card's reference scores: two
    quantiles of each detector, so few numbers that they fit these photos hardly better than others. Raises a
    `TrainerError` when it cannot be done, before anything is embedded where possible.
    """
    keys = Key.open(checkpoints[0]), Key.open(checkpoints[1])
    _check_pair(*keys)
    manifest = read_manifests(manifests)
    _check_reals(examples := manifest.split("eval"), options.target_fpr)
    out.parent.mkdir(parents=True, exist_ok=True)
    stop = StopSignal()
    with ranks.join_ranks(options.device, stop) as place, TemporaryDirectory(prefix=".fuse-", dir=out.parent) as at:
        sources = [Source(each.path, each.sha256, ShortcutOptions().view()) for each in examples]
        scorer = SourceScorer(options.cache, place, stop, Path(at))
        scores = scorer.key_scores([key.detector for key in keys], sources, "pictures")
        fusion = _Fusion(keys, manifest, examples, scores)
        if place.first:
            _write(keys, fusion.card(options), fusion.scales, out)
    return fusion.qualities(options)


def fusion_table(found: dict[str, Quality]) -> list[dict[str, object]]:
    """Rows for people: each detector's rates by engine."""
    return [
        {
            "detector": key,
            "engine": engine,
            "fakes": row.fakes,
            "tpr": row.tpr,
            "auc": row.auc,
            "fpr": each.measured_fpr,
        }
        for key, each in found.items()
        for engine, row in each.engines.items()
    ]


def _check_pair(first: Key, second: Key) -> None:
    if first.card.name == second.card.name:
        raise CheckpointError(f"both checkpoints are called {first.card.name!r}: two keys must differ")


def _check_reals(examples: list[Example], target_fpr: float) -> None:
    needed = max(LEAST_REALS, math.ceil(1 / target_fpr))
    reals = sum(not each.fake for each in examples)
    if reals < needed:
        raise ManifestError(
            f"two keys at an FPR of {target_fpr:g} need {needed} real photos in split eval, {reals} given"
        )


class _Fusion:
    """The fused rule on the pictures of split eval: its scales, its card, and how it compares with its keys."""

    def __init__(self, keys: tuple[Key, Key], manifest: Manifest, examples: list[Example], scores: Tensor) -> None:
        self._keys, self._manifest, self._examples, self._scores = keys, manifest, examples, scores
        self.scales = scales_from(scores[:, ~torch.tensor([each.fake for each in examples])])
        self._fused = np.asarray(fuse_scores(scores, self.scales))
        self._counts = _merged(*(key.card.data.counts for key in keys)) | {"eval": manifest.counts()["eval"]}

    def card(self, options: FusionOptions) -> Card:
        """The first key's card with the fused rule's data, metrics and reference."""
        licence = "; ".join(sorted({key.card.licence for key in self._keys}))
        first, second = (KeyCard(name=key.card.name, sha256=checkpoint.file_sha256(key.path)) for key in self._keys)
        changes = {
            "name": options.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": self._data(licence),
            "licence": licence,
            "quality": self._quality(self._fused, options),
            "reference": reference_scores("eval reals", self._examples, self._fused),
            "findings": None,
            "fusion": FusionCard(keys=(first, second), references=(self._reals_of(0), self._reals_of(1))),
        }
        return self._keys[0].card.model_copy(update=changes)

    def _reals_of(self, key: int) -> tuple[float, ...]:
        """A key's own scores of the real photos, ascending."""
        return reference_scores("eval reals", self._examples, np.asarray(self._scores[key])).scores

    def qualities(self, options: FusionOptions) -> dict[str, Quality]:
        """Each key alone, then the rule, at the same rate on the same pictures."""
        alone = zip(self._keys, self._scores, strict=True)
        found = {key.card.name: self._quality(np.asarray(scores), options) for key, scores in alone}
        return found | {options.name: self._quality(self._fused, options)}

    def _quality(self, scores: Scores, options: FusionOptions) -> Quality:
        return measure_quality(self._examples, scores, frozenset(self._counts.get("train", {})), options.target_fpr)

    def _data(self, licence: str) -> DataCard:
        name = " + ".join(key.card.data.name for key in self._keys)
        return DataCard(name=name, manifest_sha256=self._manifest.sha256, counts=self._counts, licence=licence)


def _merged(first: dict[str, dict[str, int]], second: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The larger count of each engine: detectors that share pictures saw them once."""
    return {
        split: {
            engine: max(first.get(split, {}).get(engine, 0), second.get(split, {}).get(engine, 0))
            for engine in sorted(first.get(split, {}).keys() | second.get(split, {}).keys())
        }
        for split in sorted(first.keys() | second.keys())
    }


def _write(keys: tuple[Key, Key], card: Card, scales: Tensor, out: Path) -> None:
    for key, file in zip(keys, checkpoint.key_files(out, card), strict=True):
        if not file.exists():
            with atomic_write(file) as part:
                shutil.copyfile(key.path, part)
    checkpoint.save_fused(FusedDetector(keys[0].detector, keys[1].detector, scales), card, out)
