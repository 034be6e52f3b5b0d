"""Fits a linear head: logistic regression on standardised features, to its optimum by L-BFGS.

It has one optimum, so it takes no learning rate, and the order of the pictures does not matter. A blend of a fake and a
real has the blend of their logits, because the head is linear: latent blending (SimLBR, arXiv 2602.20412) needs no more
rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]  # it has no types
from scipy.special import expit  # type: ignore[import-untyped]  # it has no types

from trainer.detector.model import Head, Scaling
from trainer.distributed.process import Stopped
from trainer.fitting.cache import Embeddings
from trainer.fitting.head import PART, standardise
from trainer.fitting.loop import Recipe

#: The least share of the fake in a blend.
LEAST_FAKE = 0.3
#: More passes change no score by 1e-3.
_PASSES = 150

_Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WeightedRows:
    """(N, D) embeddings, whether each is fake, and its weight in the loss, all (N,)."""

    embeddings: Embeddings
    fake: NDArray[np.bool_]
    weights: _Vector


def fit_linear(
    rows: WeightedRows, recipe: Recipe, stopping: Callable[[], bool] = lambda: False
) -> tuple[Head, torch.Tensor]:
    """Fit a linear head; returns it and the loss of each pass, (passes,).

    The loss is the weighted mean of binary cross-entropies, each blend weighing as much as its fake, plus half of
    ``recipe.l2`` times the sum of squared weights. Raises `Stopped` when asked to stop.
    """
    head = Head(rows.embeddings.shape[1], ())
    standardise(head.scaling, rows.embeddings)
    loss = _Loss(rows, _blends(rows, recipe), head.scaling, recipe.l2)
    losses: list[float] = []

    def watch(_theta: _Vector) -> None:
        losses.append(loss.last)
        if stopping():
            raise Stopped

    start = np.zeros(rows.embeddings.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", callback=watch, options={"maxiter": _PASSES})
    weights = torch.from_numpy(found.x).float()
    head.layers.load_state_dict({"0.weight": weights[None, :-1], "0.bias": weights[-1:]})
    return head.eval(), torch.tensor(losses or [float(found.fun)])


def source_weights(fake: NDArray[np.bool_], sources: NDArray[np.str_]) -> _Vector:
    """Weights by which a source of n pictures weighs √n, and all fakes weigh as much as all reals; their sum is 1."""
    named = np.char.add(np.where(fake, "fake ", "real "), sources)
    _, place, counts = np.unique(named, return_inverse=True, return_counts=True)
    return balanced(fake, 1 / np.sqrt(counts[place]))


def balanced(fake: NDArray[np.bool_], weights: _Vector) -> _Vector:
    """The weights with half of their sum on either label."""
    out = weights.astype(np.float64)
    for label in (False, True):
        out[fake == label] /= 2 * out[fake == label].sum()
    return out


@dataclass(frozen=True, slots=True)
class _Blends:
    """Blend n is ``share`` of row ``fake`` and the rest of row ``real``; all (n,)."""

    fake: NDArray[np.intp]
    real: NDArray[np.intp]
    share: _Vector


def _blends(rows: WeightedRows, recipe: Recipe) -> _Blends:
    """Each fake ``recipe.blends`` times, with reals drawn by their weights."""
    random = np.random.default_rng(recipe.seed)
    fakes, reals = np.flatnonzero(rows.fake), np.flatnonzero(~rows.fake)
    fake = np.repeat(fakes, recipe.blends)
    chance = rows.weights[reals] / rows.weights[reals].sum()
    return _Blends(fake, random.choice(reals, len(fake), p=chance), random.uniform(LEAST_FAKE, 1, len(fake)))


class _Loss:
    """The loss and its gradient for (D + 1,) weights and bias, over rows read part by part."""

    def __init__(self, rows: WeightedRows, blends: _Blends, scaling: Scaling, l2: float) -> None:
        self._rows, self._blends, self._scaling, self._l2 = rows, blends, scaling, l2
        self._weights = rows.weights / (rows.weights.sum() + rows.weights[blends.fake].sum())
        self._starts = range(0, len(rows.embeddings), PART)
        self.last = 0.0

    def __call__(self, theta: _Vector) -> tuple[float, _Vector]:
        """The loss, and its gradient."""
        slope = torch.from_numpy(theta[:-1].astype(np.float32))
        logits = np.concatenate([(self._part(start) @ slope).double().numpy() for start in self._starts]) + theta[-1]
        loss, slopes = self._of_logits(logits)
        gradient = np.append(self._l2 * theta[:-1], slopes.sum())
        for start in self._starts:
            here = torch.from_numpy(slopes[start : start + PART].astype(np.float32))
            gradient[:-1] += (here @ self._part(start)).numpy()
        self.last = loss + self._l2 / 2 * float(theta[:-1] @ theta[:-1])
        return self.last, gradient

    def _part(self, start: int) -> torch.Tensor:
        """Up to `PART` standardised rows."""
        return cast("torch.Tensor", self._scaling(torch.from_numpy(self._rows.embeddings[start : start + PART])))

    def _of_logits(self, logits: _Vector) -> tuple[float, _Vector]:
        """The mean loss of rows and blends, and its slope in each row's logit."""
        blends = self._blends
        loss, slopes = _cross_entropy(logits, self._rows.fake, self._weights)
        blended = blends.share * logits[blends.fake] + (1 - blends.share) * logits[blends.real]
        everywhere = np.ones(len(blended), dtype=np.bool_)
        more, slope = _cross_entropy(blended, everywhere, self._weights[blends.fake])
        np.add.at(slopes, blends.fake, slope * blends.share)
        np.add.at(slopes, blends.real, slope * (1 - blends.share))
        return loss + more, slopes


def _cross_entropy(logits: _Vector, fake: NDArray[np.bool_], weights: _Vector) -> tuple[float, _Vector]:
    """The weighted sum of binary cross-entropies, and its slope in each logit."""
    loss = np.logaddexp(0, np.where(fake, -logits, logits))
    return float(weights @ loss), weights * (expit(logits) - fake)
