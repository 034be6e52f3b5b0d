"""Figures that a detector is judged by.

Scores are arrays of shape (n,), 0 real to 1 AI-generated; what is at or above the threshold is flagged.
"""

import math

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def threshold_at_fpr(reals: Scores, target_fpr: float) -> float:
    """The lowest threshold that flags at most ``target_fpr`` of these real photos.

    It lies midway between the last score that may be flagged and the next below, so that rounding moves nobody across.
    Raises ValueError when there are too few reals to flag even one (n < 1 / target).
    """
    if not 0 < target_fpr < 1:
        raise ValueError(f"an FPR of {target_fpr:g} is not between 0 and 1")
    allowed = math.floor(target_fpr * len(reals) + 1e-9)
    if allowed < 1:
        raise ValueError(f"an FPR of {target_fpr:g} needs {math.ceil(1 / target_fpr)} reals, {len(reals)} given")
    descending = np.sort(reals)[::-1]
    first_kept = descending[allowed]
    above = descending[:allowed][descending[:allowed] > first_kept]
    last_flagged = above[-1] if len(above) else first_kept
    return float(max((last_flagged + first_kept) / 2, np.nextafter(first_kept, np.inf)))


def rate_at(scores: Scores, threshold: float) -> float:
    """The share of scores that are flagged: a TPR for fakes, an FPR for reals."""
    return float(np.mean(scores >= threshold))


def f1_at(reals: Scores, fakes: Scores, threshold: float) -> float:
    """F1 with as many reals as fakes, as the paper's are: 2·TPR / (TPR + FPR + 1), from rates and not from counts."""
    tpr, fpr = rate_at(fakes, threshold), rate_at(reals, threshold)
    return 2 * tpr / (tpr + fpr + 1)


def auc(reals: Scores, fakes: Scores) -> float:
    """Area under the ROC curve: the chance that a fake scores above a real, ties counting half."""
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([np.zeros(len(reals)), np.ones(len(fakes))])
    return min(1.0, float(roc_auc_score(labels, np.concatenate([reals, fakes]))))  # it is a sum, and rounded
