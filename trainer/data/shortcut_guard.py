"""The shortcut guard: would a detector of file formats, sizes or JPEG qualities pass for a detector of faces?

A small decision tree predicts the labels from each file fact, and from all together, cross-validated by group. It must
not do well: a detector fitted on such pictures learns the files (DIRE's issue 11), and is worthless elsewhere.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.tree import DecisionTreeClassifier

from trainer.data.manifest import Example
from trainer.distributed.process import cores
from trainer.errors import ManifestError, Rejected, ShortcutError
from trainer.pixels import views
from trainer.pixels.file_facts import FileFacts, file_facts
from trainer.pixels.views import normalise

log = logging.getLogger(__name__)

#: The balanced accuracy from which a fact is refused, and from which the guard warns. A rare fact of one label only
#: (one real picture in twelve is grey, no fake is) reaches no more than 0.54, and still teaches the wrong thing.
REFUSED, WARNED = 0.8, 0.52
#: The probability that the guard names a fact that predicts nothing.
P_VALUE = 0.001
#: The name of all facts taken together.
TOGETHER = "all together"
REMEDY = (
    "Resize and re-encode all pictures alike with --normalise (greyscale stays), choose other pictures, or continue "
    "with --accept-shortcut, which the card records"
)

_FOLDS, _DEPTH = 5, 3
#: Among files of one encoding, size in bytes depends only on the detail in the picture: evidence, not a shortcut.
_ENCODING = ("format", "width", "height", "quality", "subsampling")
_DETAIL = ("bytes", "bytes_per_pixel")

Matrix = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class ShortcutReport:
    """The balanced accuracy of each fact that varies; which facts are refused, and which deserve a warning."""

    accuracy: dict[str, float]
    refused: tuple[str, ...]
    warned: tuple[str, ...]
    #: The facts that the tree on all facts uses, the most important first.
    asked: tuple[str, ...]

    @property
    def warning(self) -> str | None:
        """One line for people; None when no fact is suspicious."""
        named = [*self.refused, *self.warned]
        if not named:
            return None
        told = ", ".join(f"{_title(name, self.asked)} ({self.accuracy[name]:.2f})" for name in named)
        return f"file properties partly give the labels away (balanced accuracy; 0.5 is chance): {told}"

    def card(self) -> dict[str, float]:
        """``{fact: balanced accuracy}`` for the checkpoint's card, rounded to 1e-4."""
        return {name: round(accuracy, 4) for name, accuracy in self.accuracy.items()}


@dataclass(frozen=True, slots=True)
class ShortcutOptions:
    """``normalise``: resize and re-encode all pictures alike; ``accept_shortcut``: continue, and say so in the card."""

    normalise: bool = False
    accept_shortcut: bool = False

    def check(self, examples: Sequence[Example]) -> ShortcutReport:
        """Check one split as the detector will see it, and log a warning; raises as `check_shortcuts` does."""
        found = check_shortcuts(examples, accept=self.accept_shortcut, prepare=normalise if self.normalise else None)
        if found.warning is not None:
            log.warning("%s", found.warning)
        return found

    def view(self, name: str = views.ORIGINAL) -> str:
        """The view to use in place of ``name``: normalised first where ``normalise`` asks for it."""
        return views.join_views("normal:0", name) if self.normalise else name


def check_shortcuts(
    examples: Sequence[Example], *, accept: bool = False, prepare: Callable[[bytes], bytes] | None = None
) -> ShortcutReport:
    """Check one split as the detector will see it; ``prepare`` changes each file's bytes first, as `normalise` does.

    Raises `ShortcutError` for a fact that separates the labels, unless ``accept``, and one `ManifestError` for all
    pictures that cannot be used. With fewer than two groups of a label the report is empty.
    """
    found = _read(examples, prepare)
    fake = np.array([example.fake for example in examples], dtype=np.bool_)
    guard = _judge(found, fake, np.array([example.group for example in examples]))
    if guard.refused and not accept:
        raise ShortcutError({_title(name, guard.asked): guard.accuracy[name] for name in guard.refused}, REMEDY)
    return guard


def _read(examples: Sequence[Example], prepare: Callable[[bytes], bytes] | None) -> list[FileFacts]:
    def one(example: Example) -> FileFacts | str:
        try:
            data = example.path.read_bytes()
            return file_facts(prepare(data) if prepare is not None else data)
        except (OSError, Rejected) as error:
            return f"{example.path}: {error}"

    with ThreadPoolExecutor(cores()) as pool:
        results = list(pool.map(one, examples))
    broken = [result for result in results if isinstance(result, str)]
    if broken:
        raise ManifestError(f"{len(broken)} pictures cannot be used (the first: {broken[0]})")
    return [result for result in results if isinstance(result, FileFacts)]


def _judge(found: Sequence[FileFacts], fake: Labels, groups: NDArray[np.str_]) -> ShortcutReport:
    folds = _folds(fake, groups)
    columns = _columns(found) if folds else {}
    if not columns:
        return ShortcutReport({}, (), (), ())
    matrices = columns | ({TOGETHER: np.hstack(list(columns.values()))} if len(columns) > 1 else {})
    predicted = {name: _predicted(matrix, fake, folds) for name, matrix in matrices.items()}
    accuracy = {name: _balanced_accuracy(fake, guess) for name, guess in predicted.items()}
    telling = [name for name in accuracy if _p_value(fake, predicted[name], groups) < P_VALUE]
    return ShortcutReport(
        accuracy,
        refused=tuple(name for name in telling if accuracy[name] >= REFUSED),
        warned=tuple(name for name in telling if WARNED <= accuracy[name] < REFUSED),
        asked=_asked(columns, fake),
    )


def _columns(found: Sequence[FileFacts]) -> dict[str, Matrix]:
    """(n, k) numbers for each fact that varies; a fact that is text has one column for each value."""
    rows: dict[str, list[Any]] = {
        field.name: [getattr(row, field.name) for row in found] for field in fields(FileFacts)
    }
    varying = {name: values for name, values in rows.items() if len(set(values)) > 1}
    one_jpeg_encoding = rows["format"][0] == "JPEG" and not varying.keys() & set(_ENCODING)
    idle = _DETAIL if one_jpeg_encoding else () if varying.keys() & {"width", "height"} else _DETAIL[1:]
    return {name: _numbers(values) for name, values in varying.items() if name not in idle}


def _numbers(values: list[Any]) -> Matrix:
    if isinstance(values[0], str):
        return np.array([[float(value == word) for word in sorted(set(values))] for value in values])
    return np.array(values, dtype=np.float64)[:, None]


def _folds(fake: Labels, groups: NDArray[np.str_]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions to fit on and to test on; no group is in both. Empty when a label has fewer than two groups."""
    count = min(_FOLDS, *(len(set(groups[fake == label])) for label in (False, True)))
    if count < 2:  # noqa: PLR2004 - one fold leaves nothing to fit on
        return []
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    return [(fit, judged) for fit, judged in splitter.split(np.zeros(len(fake)), fake, groups) if len(judged)]


def _predicted(matrix: Matrix, fake: Labels, folds: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Labels:
    predicted = np.zeros_like(fake)
    for fit, judged in folds:
        predicted[judged] = _tree().fit(matrix[fit], fake[fit]).predict(matrix[judged])
    return predicted


def _tree() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=_DEPTH, class_weight="balanced", random_state=0)


def _balanced_accuracy(fake: Labels, predicted: Labels) -> float:
    return float((predicted[fake].mean() + (~predicted[~fake]).mean()) / 2)


def _p_value(fake: Labels, predicted: Labels, groups: NDArray[np.str_]) -> float:
    """The p-value of the accuracy: test of two proportions, normal approximation, one-sided.

    Pictures of one group are not independent, so it counts groups and not pictures.
    """
    share = float(predicted.mean())
    spread = share * (1 - share) * sum(1 / len(set(groups[fake == label])) for label in (False, True))
    if spread == 0:
        return 1.0
    z = (2 * _balanced_accuracy(fake, predicted) - 1) / math.sqrt(spread)
    return math.erfc(z / math.sqrt(2)) / 2


def _asked(columns: dict[str, Matrix], fake: Labels) -> tuple[str, ...]:
    names = [name for name, matrix in columns.items() for _ in range(matrix.shape[1])]
    weights: Counter[str] = Counter()
    for name, weight in zip(
        names, _tree().fit(np.hstack(list(columns.values())), fake).feature_importances_, strict=True
    ):
        weights[name] += weight
    return tuple(name for name, weight in weights.most_common() if weight > 0)


def _title(name: str, asked: tuple[str, ...]) -> str:
    return f"{name}: {' + '.join(asked)}" if name == TOGETHER else name
