"""Whose real photos are flagged: the false positive rate of each cohort that the manifest's columns tell apart."""

from collections.abc import Sequence

import numpy as np

from trainer.errors import ManifestError
from trainer.judging.evaluation import Cohort
from trainer.judging.intervals import wilson
from trainer.data.manifest import Example
from trainer.judging.metrics import Scores

#: A column with more values than this, or than half the reals, tells pictures apart, and no cohorts.
MOST_VALUES = 50
#: The cohort of those whose row says nothing in the column.
NOT_GIVEN = "(not given)"


def cohorts(
    examples: Sequence[Example], scores: Scores, threshold: float, columns: Sequence[str] | None = None
) -> tuple[Cohort, ...]:
    """The held-out reals of each value in each column, worst rate first; None asks for every column with a few values.

    The threshold may have been set on these reals, but on all of them: to a cohort it is nearly a stranger's, so that
    Wilson's interval is right for small ones, and a little wide for one that is most of all. Raises `ManifestError` for
    a column that is not there.
    """
    reals = [(e, float(score)) for e, score in zip(examples, scores, strict=True) if e.split == "eval" and not e.fake]
    found: list[Cohort] = []
    for column in _columns([example for example, _ in reals], columns):
        values: dict[str, list[float]] = {}
        for example, score in reals:
            values.setdefault(example.columns.get(column) or NOT_GIVEN, []).append(score)
        found += [_cohort(column, value, np.array(values[value]), threshold) for value in values]
    return tuple(sorted(found, key=lambda cohort: (-cohort.fpr, -cohort.reals, cohort.column, cohort.value)))


def _columns(reals: Sequence[Example], asked: Sequence[str] | None) -> list[str]:
    known = sorted({column for example in reals for column in example.columns})
    if asked is None:
        most = min(MOST_VALUES, len(reals) // 2)
        return [c for c in known if 1 < len({example.columns.get(c) for example in reals}) <= most]
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise ManifestError(f"the manifest has no column {', '.join(unknown)}: it has {', '.join(known) or 'no more'}")
    return list(dict.fromkeys(asked))


def _cohort(column: str, value: str, scores: Scores, threshold: float) -> Cohort:
    flagged = int(np.sum(scores >= threshold))
    low, high = wilson(flagged, len(scores))
    fpr = flagged / len(scores)
    return Cohort(column=column, value=value, reals=len(scores), flagged=flagged, fpr=fpr, low=low, high=high)
