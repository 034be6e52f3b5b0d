"""The head's fit: it learns what can be learnt, by the paper's recipe, and its seed decides every bit."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainer.detector.model import Detector, Head, Scaling
from trainer.fitting.head import LabelledEmbeddings, fit_head, score_embeddings, standardise
from trainer.fitting.loop import Recipe
from trainer.fitting.snapshot import Snapshot


def separable(count: int = 64, size: int = 16) -> LabelledEmbeddings:
    """Embeddings of fakes and reals that lie apart, and their labels."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(0).standard_normal((count, size))
    return LabelledEmbeddings((noise + labels[:, None]).astype(np.float32), torch.from_numpy(labels).float())


def last_layer(head: Head) -> nn.Linear:
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)][-1]


def same(one: Head, other: Head) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    """Where a fit would save what it has; nothing is there."""
    return Snapshot(tmp_path / "state.safetensors", "run")


def test_the_first_step_is_adagrads(snapshot: Snapshot) -> None:
    before, _ = fit_head(separable(), Recipe(steps=0), snapshot)
    after, _ = fit_head(separable(), Recipe(steps=1, learning_rate=1e-3), snapshot)

    moved = (last_layer(after).weight - last_layer(before).weight).detach().abs()

    assert float(moved.max()) == pytest.approx(1e-3, rel=1e-3)  # by the learning rate, whatever the gradient
    assert float((moved > 0.9e-3).float().mean()) > 0.05


class TestLearning:
    def test_embeddings_that_lie_apart_are_told_apart(self, snapshot: Snapshot) -> None:
        data = separable()

        head, progress = fit_head(data, Recipe(steps=60, batch=16, learning_rate=1e-3), snapshot)

        with torch.inference_mode():
            logits = head(torch.from_numpy(data.embeddings)).squeeze(1)
        assert float(((logits > 0) == data.labels.bool()).float().mean()) > 0.95
        assert float(progress.losses[0]) == pytest.approx(math.log(2), abs=0.1)
        assert float(progress.losses[-20:].mean()) < math.log(2) / 4, "a quarter of what a guess costs"

    def test_smoothed_labels_keep_the_head_from_being_too_sure(self, snapshot: Snapshot, tmp_path: Path) -> None:
        recipe = Recipe(steps=100, batch=16, learning_rate=3e-3, label_smoothing=0.2)
        data, other = separable(), Snapshot(tmp_path / "other.safetensors", "run")

        smoothed, _ = fit_head(data, recipe, snapshot)
        plain, _ = fit_head(data, replace(recipe, label_smoothing=0.0), other)

        embeddings = torch.from_numpy(data.embeddings)
        with torch.inference_mode():
            sure, surer = (torch.sigmoid(head(embeddings)).squeeze(1)[data.labels.bool()] for head in (smoothed, plain))
        assert float(sure.mean()) == pytest.approx(0.9, abs=0.05)
        assert float(surer.mean()) > 0.97

    def test_the_head_comes_back_ready_to_judge(self, snapshot: Snapshot) -> None:
        head, progress = fit_head(separable(), Recipe(steps=3), snapshot)

        assert not any(module.training for module in head.modules())
        assert last_layer(head).in_features == 2048
        assert progress.losses.shape == (3,)

    def test_what_is_watched_is_measured_without_dropout(self, snapshot: Snapshot) -> None:
        data = separable()

        head, progress = fit_head(data, Recipe(steps=3, label_smoothing=0.2), snapshot, validation=data)

        with torch.inference_mode():
            logits = head(torch.from_numpy(data.embeddings)).squeeze(1)
        (look,) = progress.looks
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, data.labels)
        assert look.step == 3
        assert look.loss == pytest.approx(float(expected), rel=1e-5)
        assert 0.5 < look.auc <= 1

    def test_embeddings_and_labels_are_left_as_they_were(self, snapshot: Snapshot) -> None:
        data = separable()

        fit_head(data, Recipe(steps=2, scale=True), snapshot)

        assert np.array_equal(data.embeddings, separable().embeddings)
        assert torch.equal(data.labels, separable().labels)


class TestSeed:
    def test_the_same_seed_gives_the_same_bits(self, tmp_path: Path) -> None:
        torch.manual_seed(1)
        one, progress = fit_head(separable(), Recipe(steps=5, seed=7), Snapshot(tmp_path / "one", "run"))
        torch.manual_seed(2)  # what happened before does not matter
        again, progress_again = fit_head(separable(), Recipe(steps=5, seed=7), Snapshot(tmp_path / "again", "run"))

        assert same(one, again)
        assert torch.equal(progress.losses, progress_again.losses)

    def test_another_seed_gives_others(self, tmp_path: Path) -> None:
        (one, _), (other, _) = (
            fit_head(separable(), Recipe(steps=5, seed=seed), Snapshot(tmp_path / f"{seed}", "run")) for seed in (7, 8)
        )

        assert not same(one, other)


class TestScaling:
    def test_features_are_standardised_by_their_own_mean_and_deviation(self) -> None:
        embeddings = (np.random.default_rng(0).standard_normal((5000, 3)) * [1, 10, 100] + [0, 5, -7]).astype(
            np.float32
        )
        scaling = Scaling(3)

        standardise(scaling, embeddings)
        scaled: Tensor = scaling(torch.from_numpy(embeddings))

        assert scaled.mean(dim=0).tolist() == pytest.approx([0, 0, 0], abs=1e-4)
        assert scaled.std(dim=0).tolist() == pytest.approx([1, 1, 1], abs=1e-3)

    def test_a_feature_that_never_changes_stays_finite(self) -> None:
        scaling = Scaling(2)

        standardise(scaling, np.full((10, 2), 0.1, dtype=np.float32))

        assert bool(torch.isfinite(scaling(torch.full((1, 2), 0.1))).all())

    @pytest.mark.parametrize("scale", [False, True])
    def test_it_happens_only_when_the_recipe_asks_for_it(self, scale: bool, snapshot: Snapshot) -> None:
        head, _ = fit_head(separable(), Recipe(steps=0, scale=scale), snapshot)

        identity = Scaling(16)
        assert torch.equal(head.scaling.mean, identity.mean) is not scale
        assert torch.equal(head.scaling.std, identity.std) is not scale


class TestScores:
    def test_embeddings_have_the_scores_that_their_logits_say(self, small: Detector) -> None:
        embeddings = np.random.default_rng(0).standard_normal((5000, 1280)).astype(np.float32)

        scores = score_embeddings(small, embeddings)

        with torch.inference_mode():
            logits = small.head(torch.from_numpy(embeddings)).squeeze(1).double().numpy()
        assert scores.dtype == np.float64
        assert scores == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)


def test_dropout_is_at_work_while_fitting_only() -> None:
    head = Head(4)

    with torch.inference_mode():
        assert len({float(head.train()(torch.ones(1, 4))) for _ in range(3)}) == 3
        assert len({float(head.eval()(torch.ones(1, 4))) for _ in range(3)}) == 1
