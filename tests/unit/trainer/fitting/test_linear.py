"""A linear head: at its optimum, with sources weighed, and with blends of fakes and reals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from trainer.fitting.head import score_rows
from trainer.fitting.linear import WeightedRows, balanced, fit_linear, source_weights
from trainer.fitting.loop import Recipe

LINEAR = Recipe(widths=(), l2=0.02)


def rows(count: int = 200) -> WeightedRows:
    """Fakes lie one deviation from reals in the first of five features, which have other scales."""
    random = np.random.default_rng(0)
    fake = np.arange(count) % 2 == 1
    embeddings = random.normal(0, 1, (count, 5)) + fake[:, None] * np.array([1.0, 0, 0, 0, 0])
    scaled = (embeddings * np.array([1, 10, 0.1, 1, 1]) + 3).astype(np.float32)
    return WeightedRows(scaled, fake, balanced(fake, np.ones(count)))


def test_it_is_logistic_regression_on_standardised_features() -> None:
    data = rows()
    head, losses = fit_linear(data, LINEAR)

    standardised = (data.embeddings - data.embeddings.mean(axis=0)) / data.embeddings.std(axis=0)
    theirs = LogisticRegression(C=1 / (LINEAR.l2 * len(data.fake)), tol=1e-8).fit(standardised, data.fake)

    expected = theirs.predict_proba(standardised)[:, 1]
    assert score_rows(head, data.embeddings) == pytest.approx(expected, abs=1e-3)
    assert float(losses[-1]) < float(losses[0])


def test_weights_count_as_repeated_pictures_do() -> None:
    data = rows(60)
    twice = np.where(np.arange(60) < 20, 2, 1)
    repeated = np.repeat(np.arange(60), twice)
    head, _ = fit_linear(WeightedRows(data.embeddings, data.fake, twice / twice.sum()), LINEAR)

    again = WeightedRows(data.embeddings[repeated], data.fake[repeated], np.full(len(repeated), 1 / len(repeated)))
    other, _ = fit_linear(again, LINEAR)

    # Standardisation sees the repeated rows and not the weights, so compare directions.
    ours, theirs = (h.layers.state_dict()["0.weight"][0] / h.scaling.std for h in (head, other))
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.98


def test_blends_draw_the_border_towards_the_reals() -> None:
    data = rows()
    plain, _ = fit_linear(data, LINEAR)
    blended, _ = fit_linear(data, replace(LINEAR, blends=4))

    between = data.embeddings[~data.fake][:50] * 0.5 + data.embeddings[data.fake][:50] * 0.5
    assert score_rows(blended, between).mean() > score_rows(plain, between).mean()


def test_the_same_recipe_gives_the_same_head() -> None:
    recipe = replace(LINEAR, blends=2, seed=3)

    first, second = (fit_linear(rows(), recipe)[0] for _ in range(2))

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_source_of_four_times_the_pictures_weighs_twice_as_much_and_labels_weigh_alike() -> None:
    fake = np.array([False] * 20 + [True] * 4)
    sources = np.array(["big"] * 16 + ["small"] * 4 + ["engine"] * 4)

    weights = source_weights(fake, sources)

    assert weights[:16].sum() == pytest.approx(2 * weights[16:20].sum())
    assert weights[fake].sum() == pytest.approx(weights[~fake].sum()) == pytest.approx(0.5)
