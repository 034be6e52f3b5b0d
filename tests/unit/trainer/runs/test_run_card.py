"""The card of a run: nothing is said of quality that its held-out reals cannot show."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.data.manifest import Example, Manifest
from trainer.data.shortcut_guard import ShortcutOptions, ShortcutReport
from trainer.detector.card import Card
from trainer.detector.model import Detector, count_trainable_parameters
from trainer.detector.weights import PretrainedBackbone, weights_sha256
from trainer.distributed.ranks import Ranks
from trainer.errors import TrainerError
from trainer.fitting.finetune import Unfreezing
from trainer.fitting.snapshot import Progress, Snapshot
from trainer.judging.metrics import Scores
from trainer.runs.run_card import FinishedRun, make_card
from trainer.runs.run_config import RunConfig


def example(number: int, engine: str, split: str) -> Example:
    return Example(Path(f"{number}.png"), engine != "camera", engine, split, str(number))


def held_out(reals: int) -> Manifest:
    """A manifest with one engine to train on, and with reals and two engines to judge by."""
    engines = ["camera"] * reals + ["SG1", "MJ"]
    train = [example(-1, "camera", "train"), example(-2, "SG1", "train")]
    return Manifest((*train, *(example(number, engine, "eval") for number, engine in enumerate(engines))), "a" * 64)


def run(lite1: PretrainedBackbone, small: Detector, manifest: Manifest) -> FinishedRun:
    plan = RunConfig(Path("faces/manifest.csv"), Path("out"), name="mine", head_only=True, licence="CC0")
    snapshot = Snapshot(Path("out/state.safetensors"), "b" * 64, settings={"seed": "0"})
    progress = Progress(torch.arange(300.0), step=300, seconds=60.0)
    here = Ranks(0, 1, torch.device("cpu"))
    return FinishedRun(
        plan, manifest, lite1, small, snapshot, progress, ShortcutReport({}, (), (), ()), seconds=90.0, place=here
    )


def plain_to_see(reals: int) -> Scores:
    """Reals below a half, both fakes above."""
    return np.concatenate([np.linspace(0, 0.5, reals), [0.9, 0.8]])


@pytest.mark.parametrize("reals", [200, 1000])
def test_enough_reals_show_the_quality(reals: int, lite1: PretrainedBackbone, small: Detector) -> None:
    card = make_card(run(lite1, small, held_out(reals)), plain_to_see(reals))

    assert card.quality is not None
    assert (card.quality.split, card.quality.reals, card.quality.target_fpr) == ("eval", reals, 0.005)
    assert card.quality.measured_fpr == 0.005
    assert {name: of.in_training for name, of in card.quality.engines.items()} == {"MJ": False, "SG1": True}
    assert card.reference is not None
    assert card.reference.scores == pytest.approx(np.linspace(0, 0.5, reals), abs=1e-6)


def test_too_few_reals_show_none_and_are_warned_of(
    lite1: PretrainedBackbone, small: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        card = make_card(run(lite1, small, held_out(199)), plain_to_see(199))

    assert card.quality is None
    assert "199 reals are too few to show an FPR of 0.005, which takes 600: they can show 0.015 at best" in caplog.text
    assert card.reference is not None
    assert len(card.reference.scores) == 199


@pytest.mark.parametrize(("normalise", "scores"), [(True, plain_to_see(5)), (True, None), (False, plain_to_see(5))])
def test_scores_of_normalised_pictures_are_warned_of_since_photos_are_not_served_so(
    normalise: bool, scores: Scores | None, lite1: PretrainedBackbone, small: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    done = run(lite1, small, held_out(5))

    make_card(replace(done, config=replace(done.config, intake=ShortcutOptions(normalise))), scores)

    asked = "build a reference: unmask reference build" in caplog.text
    assert asked == (normalise and scores is not None)


def test_a_run_without_a_split_to_judge_by_says_nothing_of_it(lite1: PretrainedBackbone, small: Detector) -> None:
    card = make_card(run(lite1, small, held_out(5)), None)

    assert (card.quality, card.reference) == (None, None)


def test_the_card_says_how_the_detector_was_made(lite1: PretrainedBackbone, small: Detector) -> None:
    card = make_card(run(lite1, small, held_out(1)), None)

    assert (card.name, card.data.name, card.licence, card.data.licence) == ("mine", "faces", "CC0", "CC0")
    assert (card.training.run, card.training.steps) == ("b" * 64, 300)
    assert (card.training.steps_asked, card.training.settings) == (10_000, {"seed": "0"})
    assert card.training.final_loss == pytest.approx(249.5), "of the last hundred steps"
    assert (card.backbone.sha256, card.backbone.weights, card.backbone.included) == (lite1.sha256, lite1.tag, False)
    assert (card.backbone.mean, card.backbone.std, card.backbone.embedding_size) == (lite1.mean, lite1.std, 1280)
    assert card.head.parameters == count_trainable_parameters(small)
    assert card.data.counts == {"train": {"camera": 1, "SG1": 1}, "eval": {"camera": 1, "SG1": 1, "MJ": 1}}
    assert Card.parse(card.json_text(), "here") == card


def test_the_card_says_where_the_fit_ran_and_how_fast(lite1: PretrainedBackbone, small: Detector) -> None:
    card = make_card(run(lite1, small, held_out(1)), None, (500, 20.0))

    assert card.execution is not None
    assert card.execution.device.startswith("cpu: ")
    assert (card.execution.ranks, card.execution.precision) == (1, "float32")
    assert (card.execution.wall_s, card.execution.fit_s, card.execution.fit_images_per_s) == (90.0, 60.0, 160.0)
    assert (card.execution.embedded, card.execution.embedded_images_per_s) == (500, 25.0)
    assert {"torch", "timm", "pillow", "numpy", "safetensors", "scikit-learn", "python"} <= card.versions.keys()


def test_a_backbone_that_was_trained_too_is_another_and_goes_into_the_file(
    lite1: PretrainedBackbone, small: Detector
) -> None:
    done = run(lite1, small, held_out(1))
    stale = replace(lite1, sha256="0" * 64)

    card = make_card(
        replace(done, pretrained=stale, config=replace(done.config, unfreezing=Unfreezing("last:1"))), None
    )

    assert card.backbone.sha256 == weights_sha256(small.backbone)
    assert card.backbone.weights == f"{lite1.tag}, trained on: last:1"
    assert card.backbone.trained
    assert not make_card(done, None).backbone.trained
    assert card.backbone.included


@pytest.mark.parametrize(("name", "licence"), [("two\nlines", ""), ("x" * 301, ""), ("", "x" * 10_001)])
def test_what_a_card_would_refuse_is_refused_before_the_run(name: str, licence: str) -> None:
    with pytest.raises(TrainerError, match=r"^the (detector's name|licence) '.*: String should "):
        RunConfig(Path("faces/manifest.csv"), Path("out"), name=name, licence=licence)
