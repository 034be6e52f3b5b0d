"""How well a detector does on a held-out split, engine by engine, at the false positive rate that policy accepts."""

from collections.abc import Sequence

import numpy as np

from trainer.card import EngineMetrics, Quality, Reference
from trainer.manifest import Example
from trainer.metrics import Scores, auc, f1_at, rate_at, threshold_at_fpr

#: The paper's: at most one real face in 200 is flagged.
TARGET_FPR = 0.005


def judge(
    examples: Sequence[Example], scores: Scores, trained_on: frozenset[str], target_fpr: float = TARGET_FPR
) -> Quality:
    """Quality at the threshold that flags ``target_fpr`` of these examples' reals.

    Each engine is measured against all reals. Raises ValueError when there are too few reals for the target.
    """
    fake = np.array([example.fake for example in examples])
    engine = np.array([example.engine for example in examples])
    reals = scores[~fake]
    threshold = threshold_at_fpr(reals, target_fpr)
    return Quality(
        split=examples[0].split,
        target_fpr=target_fpr,
        threshold=threshold,
        measured_fpr=rate_at(reals, threshold),
        reals=len(reals),
        engines={
            name: _metrics(reals, scores[fake & (engine == name)], threshold, in_training=name in trained_on)
            for name in sorted(set(engine[fake]))
        },
    )


def reference(name: str, examples: Sequence[Example], scores: Scores) -> Reference:
    """The real photos' scores, from which the false positive rate of any threshold can be read."""
    reals = [float(score) for example, score in zip(examples, scores, strict=True) if not example.fake]
    return Reference(name=name, scores=tuple(sorted(round(score, 7) for score in reals)))


def _metrics(reals: Scores, fakes: Scores, threshold: float, *, in_training: bool) -> EngineMetrics:
    return EngineMetrics(
        in_training=in_training,
        fakes=len(fakes),
        reals=len(reals),
        auc=auc(reals, fakes),
        tpr=rate_at(fakes, threshold),
        f1=f1_at(reals, fakes, threshold),
    )
