"""Makes an int8 network of a detector, for CPUs, and measures it as a detector of its own.

unmask quantise CHECKPOINT --manifest M --out DIR/int8.safetensors

Post-training quantisation by NNCF: activations and weights of convolutions become 8-bit integers, whose ranges come
from real and generated pictures of the manifest's split train. `KEPT` stays in 32 bits.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainer.data.manifest import Example, Manifest, read_manifests
from trainer.detector import checkpoint
from trainer.detector.card import Card, DataCard, KeyCard, QuantisedCard
from trainer.detector.card_results import Quality
from trainer.detector.scoring_network import (
    NetworkFiles,
    OpenVinoNetwork,
    QuantisedDetector,
    converted,
    openvino_module,
)
from trainer.distributed.process import Stopped, StopSignal
from trainer.errors import CheckpointError, ManifestError, TrainerError
from trainer.files import atomic_write
from trainer.fitting.embed import pixels_of, sources_of
from trainer.judging.evaluate import TARGET_FPR, measure_quality, reference_scores
from trainer.judging.metrics import Scores
from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import Pixels
from trainer.progress import progress_bar
from trainer.runs.scoring import network_scores

#: Pictures that the ranges of activations come from: more change nothing (NNCF's own default).
CALIBRATION = 300
#: Operations in 32 bits: the head, squeeze-and-excitation, and the mean and deviation of each channel, of which the
#: multilevel embedding consists. They take little time. In 8 bits they took the shipped detector's AUC from 0.996 to
#: 0.902.
KEPT = ("MatMul", "ReduceMean", "Subtract", "Multiply", "Sqrt", "Divide", "Concat")
#: So many convolutions from the picture on stay in 32 bits, too: they see the traces of generators at their finest.
#: With them in 8 bits the mean error of the shipped detector's logits was 0.34, so it is 0.20, at nine tenths of the
#: speed.
FIRST_KEPT = 3
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
#: Fewer than this do not show the ranges.
FEWEST = 20


@dataclass(frozen=True, slots=True)
class QuantisationOptions:
    """The new detector's name, the rate at which it is compared with the old one, and how many pictures calibrate."""

    name: str
    target_fpr: float = TARGET_FPR
    calibration: int = CALIBRATION


def quantise_file(path: Path, manifests: Sequence[Path], out: Path, options: QuantisationOptions) -> dict[str, Quality]:
    """Write the checkpoint ``out`` and, beside it, a copy of the one it is made of; returns both detectors' quality.

    Both are measured on split eval in the same way, and the card's reference scores are the int8 network's. Raises a
    `TrainerError` when it cannot be done, before anything is scored where possible.
    """
    _check_installed()
    detector, card = checkpoint.load(path)
    _check_plain(card, path)
    manifest = read_manifests(manifests)
    examples = manifest.split("eval")
    calibration = calibration_pictures(manifest, options.calibration)
    _check_reals(examples, options.target_fpr)
    with StopSignal() as stop:
        model = converted(detector)
        before = _scores(OpenVinoNetwork(model).scores, examples, "pictures in 32 bits", stop)
        files = NetworkFiles.of(_quantised(model, calibration, stop))
        made = QuantisedDetector(detector, files, torch.zeros(len(known_pictures())))
        made.known_scores.copy_(torch.from_numpy(made.scores(known_pictures())))
        after = _scores(made.scores, examples, "pictures in 8 bits", stop)
    origin = KeyCard(name=card.name, sha256=checkpoint.file_sha256(path))
    measured = _Measured(card, manifest, examples, options)
    new = measured.card(origin, len(calibration), after)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(path, made, new, out)
    return {card.name: measured.quality(before), options.name: measured.quality(after)}


def calibration_pictures(manifest: Manifest, count: int) -> list[Example]:
    """So many pictures of split train, reals and fakes in turn; the same ones each time.

    Raises `ManifestError` when there are fewer than `FEWEST`.
    """
    train = sorted(manifest.split("train"), key=lambda example: (example.sha256, example.path))
    reals, fakes = ([each for each in train if each.fake is fake] for fake in (False, True))
    chosen = list(islice(filter(None, chain.from_iterable(zip_longest(reals, fakes))), count))
    if len(chosen) < FEWEST:
        raise ManifestError(f"calibration needs {FEWEST} or more pictures in split train, {len(chosen)} given")
    return chosen


def _check_installed() -> None:
    missing = [name for name in ("openvino", "nncf") if not find_spec(name)]
    if missing:
        raise TrainerError(f"quantise needs {', '.join(missing)}: pip install 'unmask[int8]'")


def _check_plain(card: Card, path: Path) -> None:
    if card.fusion is not None:
        raise CheckpointError(f"checkpoint {path} has two keys: int8 takes one detector, so name one of them")
    if card.quantised is not None:
        raise CheckpointError(f"checkpoint {path} is in int8 already: name the one that it was made of")


def _check_reals(examples: Sequence[Example], target_fpr: float) -> None:
    reals, needed = sum(not each.fake for each in examples), int(np.ceil(1 / target_fpr))
    if reals < needed:
        raise ManifestError(f"an FPR of {target_fpr:g} needs {needed} real photos in split eval, {reals} given")


def _scores(
    score: Callable[[Sequence[Pixels]], Any], examples: Sequence[Example], what: str, stop: StopSignal
) -> Scores:
    return network_scores(score, sources_of(examples), what, stop)


def _quantised(model: Any, calibration: Sequence[Example], stop: StopSignal) -> Any:
    """The model with convolutions in int8; the given one stays as it is."""
    openvino_module()  # before nncf imports it
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function also changes the handlers of the root logger
    pictures = nncf.Dataset(_Calibration(calibration, stop), lambda pixels: pixels[None])
    with _silent():  # it draws its own progress on stdout
        return nncf.quantize(
            model.clone(),
            pictures,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
            ignored_scope=nncf.IgnoredScope(names=_first_convolutions(model), types=list(KEPT), validate=False),
        )


def _first_convolutions(model: Any) -> list[str]:
    ordered = [each for each in model.get_ordered_ops() if each.get_type_name() in _CONVOLUTIONS]
    return [each.get_friendly_name() for each in ordered[:FIRST_KEPT]]


class _Calibration:
    """Pixels of pictures, decoded as they are asked for: NNCF passes over them more than once."""

    def __init__(self, examples: Sequence[Example], stop: StopSignal) -> None:
        self._sources = sources_of(examples)
        self._stop = stop

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[Pixels]:
        with progress_bar(len(self), "calibrate on", "picture", shown=True) as bar:
            for source in self._sources:
                if self._stop():
                    raise Stopped
                yield pixels_of(source)
                bar.update()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@dataclass(frozen=True, slots=True)
class _Measured:
    """What was made of which card, and the pictures that it is judged by."""

    card_before: Card
    manifest: Manifest
    examples: Sequence[Example]
    options: QuantisationOptions

    def card(self, origin: KeyCard, calibrated_on: int, scores: Scores) -> Card:
        """The old card with the int8 network's name, metrics and reference."""
        before = self.card_before
        counts = before.data.counts | {"eval": self.manifest.counts()["eval"]}
        changes = {
            "name": self.options.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": DataCard(
                name=before.data.name, manifest_sha256=self.manifest.sha256, counts=counts, licence=before.data.licence
            ),
            "quality": self.quality(scores),
            "reference": reference_scores("eval reals", self.examples, scores),
            "findings": None,
            "quantised": QuantisedCard(of=origin, calibrated_on=calibrated_on),
            "versions": before.versions | {name: version(name) for name in ("nncf", "openvino")},
        }
        return before.model_copy(update=changes)

    def quality(self, scores: Scores) -> Quality:
        """The metrics of these scores of split eval, by the card's engines."""
        trained_on = frozenset(self.card_before.data.counts.get("train", {}))
        return measure_quality(self.examples, scores, trained_on, self.options.target_fpr)


def _write(origin: Path, made: QuantisedDetector, card: Card, out: Path) -> None:
    (beside,) = checkpoint.key_files(out, card)
    if not beside.exists():
        with atomic_write(beside) as part:
            shutil.copyfile(origin, part)
    checkpoint.save_quantised(made, card, out)
