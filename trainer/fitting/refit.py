"""Fits whichever head a recipe asks for, on the embeddings of examples."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.detector.model import Head
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.head import LabelledEmbeddings, fit_head
from trainer.fitting.linear import WeightedRows, balanced, fit_linear, source_weights
from trainer.fitting.loop import Recipe
from trainer.fitting.snapshot import Progress, Snapshot


def fit_examples(
    data: EmbeddedExamples,
    recipe: Recipe,
    snapshot: Snapshot,
    device: torch.device,
    stopping: Callable[[], bool] = lambda: False,
    watched: EmbeddedExamples | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda _step, _found: None,
) -> tuple[Head, Progress]:
    """Fit the recipe's head; returns it and the fit's progress, which is looked at on ``watched``.

    Raises as `trainer.fitting.head.fit_head` and `trainer.fitting.linear.fit_linear` do.
    """
    if not recipe.widths:
        weights = example_weights(data, recipe)
        head, losses = fit_linear(WeightedRows(data.embeddings, data.fake, weights), recipe, stopping)
        return head.to(device), Progress(losses, step=len(losses))
    watch = _labelled(watched, recipe, device) if watched is not None else None
    return fit_head(_labelled(data, recipe, device), recipe, snapshot, stopping, watch, report)


def example_weights(data: EmbeddedExamples, recipe: Recipe) -> NDArray[np.float64]:
    """(n,) weights in the loss, with the sum 1: the data's own, or by source, or each picture the same."""
    if data.weights is not None:
        return data.weights
    if recipe.weigh_sources:
        return source_weights(data.fake, data.sources)
    even = np.full(len(data.examples), 1 / len(data.examples))
    return even if recipe.widths else balanced(data.fake, even)


def with_average_source(data: EmbeddedExamples, weights: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    """The weights with those of one source of fakes raised to what the other sources of fakes have on average."""
    ours = data.fake & (data.sources == source)
    others = data.fake & ~ours
    count = len(set(data.sources[others].tolist()))
    out = weights.copy()
    if ours.any() and count:
        out[ours] *= max(1.0, float(weights[others].sum()) / count / float(weights[ours].sum()))
    return balanced(data.fake, out)


def _labelled(data: EmbeddedExamples, recipe: Recipe, device: torch.device) -> LabelledEmbeddings:
    labels = torch.from_numpy(data.fake).float().to(device)
    if data.weights is None and not recipe.weigh_sources:
        return LabelledEmbeddings(data.embeddings, labels)
    weights = torch.from_numpy(example_weights(data, recipe) * len(labels)).float().to(device)
    return LabelledEmbeddings(data.embeddings, labels, weights)
