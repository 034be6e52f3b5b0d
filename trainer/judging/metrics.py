"""Metrics of a detector.

Scores are arrays of shape (n,), from 0 (real) to 1 (AI-generated); a score at or above the threshold is flagged.
"""

import numpy as np
from numpy.typing import NDArray

from db.stats.certification import TooFewRealsError, certify
from db.stats.empirical_fpr import RealScores, threshold_at_fpr, threshold_flagging
from db.stats.intervals import CONFIDENCE

Scores = NDArray[np.float64]


def lowest_threshold(reals: Scores, target_fpr: float) -> float:
    """The lowest threshold that flags at most ``target_fpr`` of real photos with these scores, in any order.

    Raises ValueError as `db.stats.empirical_fpr.threshold_at_fpr` does.
    """
    return threshold_at_fpr(np.sort(reals).tolist(), target_fpr)


def thinned(scores: Scores, most: int = 200) -> tuple[float, ...]:
    """The scores in ascending order, or ``most`` of them at even ranks: enough to read the rate at any threshold."""
    ascending = np.sort(scores)
    ranks = np.linspace(0, len(ascending) - 1, min(len(ascending), most)).round().astype(int)
    return tuple(round(float(score), 7) for score in ascending[ranks])


def certified_threshold(reals: Scores, target_fpr: float, confidence: float = CONFIDENCE) -> float:
    """The lowest threshold whose true FPR is certified (see `db.stats.certification`).

    Where the reals are too few it flags none of them, and certifies nothing. Raises ValueError as `lowest_threshold`
    does.
    """
    scores = RealScores("reals", np.sort(reals).tolist())
    try:
        return certify(scores, target_fpr, confidence).threshold
    except TooFewRealsError:
        return threshold_flagging(scores.scores, 0)


def rate_at(scores: Scores, threshold: float) -> float:
    """The share of scores at or above the threshold: a TPR for fakes, an FPR for reals."""
    return float(np.mean(scores >= threshold))


def f1_at(reals: Scores, fakes: Scores, threshold: float) -> float:
    """F1 for as many reals as fakes, as in the paper: 2·TPR / (TPR + FPR + 1), from rates and not from counts."""
    tpr, fpr = rate_at(fakes, threshold), rate_at(reals, threshold)
    return 2 * tpr / (tpr + fpr + 1)


def auc(reals: Scores, fakes: Scores) -> float:
    """Area under the ROC curve: the probability that a fake scores above a real, ties counting half."""
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([np.zeros(len(reals)), np.ones(len(fakes))])
    return min(1.0, float(roc_auc_score(labels, np.concatenate([reals, fakes]))))  # the sum may round above 1
