"""The false positive rate by cohort: groups of real photos with one value in a column of the manifest."""

from collections.abc import Sequence

import numpy as np

from db.stats.cohorts import NOT_GIVEN, cohort_columns
from db.stats.intervals import wilson
from trainer.data.manifest import Example
from trainer.errors import ManifestError
from trainer.judging.metrics import Scores
from trainer.judging.results import CohortRow


def cohorts(
    examples: Sequence[Example], scores: Scores, threshold: float, columns: Sequence[str] | None = None
) -> tuple[CohortRow, ...]:
    """The held-out reals of each value in each column, worst rate first; None means every column with a few values.

    The threshold may have been set on all of these reals, but for one cohort it is almost independent: Wilson's
    interval is right for small cohorts, and a little wide for one with most of the reals. Raises `ManifestError` for a
    column that the manifest lacks.
    """
    reals = [(e, float(score)) for e, score in zip(examples, scores, strict=True) if e.split == "eval" and not e.fake]
    found: list[CohortRow] = []
    for column in _columns([example for example, _ in reals], columns):
        values: dict[str, list[float]] = {}
        for example, score in reals:
            values.setdefault(example.columns.get(column) or NOT_GIVEN, []).append(score)
        found += [_cohort(column, value, np.array(values[value]), threshold) for value in values]
    return tuple(sorted(found, key=lambda cohort: (-cohort.fpr, -cohort.reals, cohort.column, cohort.value)))


def _columns(reals: Sequence[Example], asked: Sequence[str] | None) -> list[str]:
    known = sorted({column for example in reals for column in example.columns})
    if asked is None:
        return cohort_columns([example.columns for example in reals])
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise ManifestError(
            f"the manifest has no column {', '.join(unknown)}: it has {', '.join(known) or 'no others'}"
        )
    return list(dict.fromkeys(asked))


def _cohort(column: str, value: str, scores: Scores, threshold: float) -> CohortRow:
    flagged = int(np.sum(scores >= threshold))
    fpr = wilson(flagged, len(scores))
    return CohortRow(
        column=column, value=value, reals=len(scores), flagged=flagged, fpr=fpr.value, low=fpr.low, high=fpr.high
    )
