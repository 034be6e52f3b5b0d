"""What heads say of fakes and reals that they have not seen: the rates at a certified threshold."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from db.stats.intervals import wilson
from trainer.data.manifest import Example
from trainer.judging.metrics import Scores, auc, certified_threshold, lowest_threshold
from trainer.judging.results import LeftOutKind, LeftOutRow, RealSourceRow


@dataclass(frozen=True, slots=True)
class LeftOutScores:
    """The scores of K refits: each one's own reals, and (K, n) of the n fakes that none of them has seen.

    ``by_place`` are the reals' scores by their places among the examples.
    """

    reals: tuple[Scores, ...]
    fakes: Scores
    by_place: dict[int, float] = field(default_factory=dict)


def row_of(kind: LeftOutKind, name: str, scores: LeftOutScores, target_fpr: float) -> LeftOutRow:
    """The rates of one family, engine or source; its interval counts each fake once, whatever the number of refits."""
    reals = np.concatenate(scores.reals)
    threshold = certified_threshold(reals, target_fpr)
    fakes = scores.fakes.shape[1]
    found = wilson(round(float(np.mean(scores.fakes >= threshold)) * fakes), fakes)
    return LeftOutRow(
        kind=kind,
        name=name,
        fakes=fakes,
        reals=len(reals),
        threshold=threshold,
        tpr=float(np.mean(scores.fakes >= threshold)),
        tpr_low=found.low,
        tpr_high=found.high,
        fpr=float(np.mean(reals >= threshold)),
        empirical_tpr=float(np.mean(scores.fakes >= lowest_threshold(reals, target_fpr))),
        auc=float(np.mean([auc(own, fakes) for own, fakes in zip(scores.reals, scores.fakes, strict=True)])),
    )


def real_source_rows(
    examples: Sequence[Example], scores: dict[int, float], whole: dict[int, float], target_fpr: float
) -> tuple[RealSourceRow, ...]:
    """The FPR of each source of reals, by heads that it did not train, at their common threshold; largest first.

    ``scores`` set the threshold. ``whole`` are those of sources too large to be left out for it.
    """
    threshold = certified_threshold(np.array(list(scores.values())), target_fpr)
    by_source: dict[str, list[float]] = {}
    for place, score in (scores | whole).items():
        by_source.setdefault(examples[place].source, []).append(score)
    rows = []
    for source, found in by_source.items():
        flagged = int(np.sum(np.array(found) >= threshold))
        fpr = wilson(flagged, len(found))
        rows.append(
            RealSourceRow(
                source=source, reals=len(found), flagged=flagged, fpr=fpr.value, fpr_low=fpr.low, fpr_high=fpr.high
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.reals, row.source)))
