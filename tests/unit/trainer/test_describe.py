"""The card of a run: nothing is said of quality that its held-out reals cannot show."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.detector.card import Card
from trainer.runs.describe import Run, describe
from trainer.errors import TrainerError
from trainer.fitting.finetune import Unfreezing
from trainer.data.guard import Guard
from trainer.data.intake import Intake
from trainer.data.manifest import Example, Manifest
from trainer.judging.metrics import Scores
from trainer.detector.model import Detector, trainable_parameters
from trainer.runs.plan import Plan
from trainer.detector.weights import Weighted, digest


def example(number: int, engine: str, split: str) -> Example:
    return Example(Path(f"{number}.png"), engine != "camera", engine, split, str(number))


def held_out(reals: int) -> Manifest:
    """A manifest with one engine to train on, and with reals and two engines to judge by."""
    engines = ["camera"] * reals + ["SG1", "MJ"]
    train = [example(-1, "camera", "train"), example(-2, "SG1", "train")]
    return Manifest((*train, *(example(number, engine, "eval") for number, engine in enumerate(engines))), "a" * 64)


def run(lite1: Weighted, small: Detector, manifest: Manifest) -> Run:
    plan = Plan(Path("faces/manifest.csv"), Path("out"), name="mine", head_only=True, licence="CC0")
    return Run(plan, manifest, lite1, small, "b" * 64, torch.arange(300.0), Guard({}, (), (), ()))


def plain_to_see(reals: int) -> Scores:
    """Reals below a half, both fakes above."""
    return np.concatenate([np.linspace(0, 0.5, reals), [0.9, 0.8]])


@pytest.mark.parametrize("reals", [200, 1000])
def test_enough_reals_show_the_quality(reals: int, lite1: Weighted, small: Detector) -> None:
    card = describe(run(lite1, small, held_out(reals)), plain_to_see(reals))

    assert card.quality is not None
    assert (card.quality.split, card.quality.reals, card.quality.target_fpr) == ("eval", reals, 0.005)
    assert card.quality.measured_fpr == 0.005
    assert {name: of.in_training for name, of in card.quality.engines.items()} == {"MJ": False, "SG1": True}
    assert card.reference is not None
    assert card.reference.scores == pytest.approx(np.linspace(0, 0.5, reals), abs=1e-6)


def test_too_few_reals_show_none_and_are_warned_of(
    lite1: Weighted, small: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        card = describe(run(lite1, small, held_out(199)), plain_to_see(199))

    assert card.quality is None
    assert "an FPR of 0.005 needs 200 reals, 199 given" in caplog.text
    assert card.reference is not None
    assert len(card.reference.scores) == 199


@pytest.mark.parametrize(("normalise", "scores"), [(True, plain_to_see(5)), (True, None), (False, plain_to_see(5))])
def test_scores_of_normalised_pictures_are_warned_of_since_photos_are_not_served_so(
    normalise: bool, scores: Scores | None, lite1: Weighted, small: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    done = run(lite1, small, held_out(5))

    describe(replace(done, plan=replace(done.plan, intake=Intake(normalise))), scores)

    asked = "make a reference of such scores: unmask reference build" in caplog.text
    assert asked == (normalise and scores is not None)


def test_a_run_without_a_split_to_judge_by_says_nothing_of_it(lite1: Weighted, small: Detector) -> None:
    card = describe(run(lite1, small, held_out(5)), None)

    assert (card.quality, card.reference) == (None, None)


def test_the_card_says_how_the_detector_was_made(lite1: Weighted, small: Detector) -> None:
    card = describe(run(lite1, small, held_out(1)), None)

    assert (card.name, card.data.name, card.licence, card.data.licence) == ("mine", "faces", "CC0", "CC0")
    assert (card.training.run, card.training.steps) == ("b" * 64, 300)
    assert card.training.final_loss == pytest.approx(249.5), "of the last hundred steps"
    assert (card.backbone.sha256, card.backbone.weights, card.backbone.included) == (lite1.sha256, lite1.tag, False)
    assert (card.backbone.mean, card.backbone.std, card.backbone.embedding_size) == (lite1.mean, lite1.std, 1280)
    assert card.head.parameters == trainable_parameters(small)
    assert card.data.counts == {"train": {"camera": 1, "SG1": 1}, "eval": {"camera": 1, "SG1": 1, "MJ": 1}}
    assert Card.parse(card.json_text(), "here") == card


def test_a_backbone_that_was_trained_too_is_another_and_goes_into_the_file(lite1: Weighted, small: Detector) -> None:
    done = run(lite1, small, held_out(1))
    stale = replace(lite1, sha256="0" * 64)

    card = describe(replace(done, weighted=stale, plan=replace(done.plan, unfreezing=Unfreezing("last:1"))), None)

    assert card.backbone.sha256 == digest(small.backbone)
    assert card.backbone.weights == f"{lite1.tag}, trained on: last:1"
    assert card.backbone.trained
    assert not describe(done, None).backbone.trained
    assert card.backbone.included


@pytest.mark.parametrize(("name", "licence"), [("two\nlines", ""), ("x" * 301, ""), ("", "x" * 10_001)])
def test_what_a_card_would_refuse_is_refused_before_the_run(name: str, licence: str) -> None:
    with pytest.raises(TrainerError, match=r"^the (detector's name|licence) '.*: String should "):
        Plan(Path("faces/manifest.csv"), Path("out"), name=name, licence=licence)
