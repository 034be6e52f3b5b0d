"""The shortcut guard: would a detector of file formats, sizes or JPEG qualities pass for a detector of faces?

Each fact of how the files are stored, and all together, judge the labels by a small tree, cross-validated by group. It
must not do well: a detector fitted on such pictures learns the files (DIRE's issue 11), and is worthless elsewhere.
"""

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

from trainer.distributed.cores import cores
from trainer.errors import ManifestError, Rejected, ShortcutError
from trainer.pixels.facts import Facts, facts
from trainer.data.manifest import Example

#: Balanced accuracy from which a fact is refused, and from which it is worth a warning: a rare fact that only one label
#: has (one real picture in twelve is grey, no fake is) comes to no more than 0.54, and yet teaches.
REFUSED, WARNED = 0.8, 0.52
#: One chance in so many that a fact which tells nothing is named.
P_VALUE = 0.001
#: The name of all facts taken together.
TOGETHER = "all together"
REMEDY = (
    "give every picture one canvas and one encoding with --normalise, choose the pictures so that it no longer tells "
    "(greyscale stays), or accept it with --accept-shortcut, which the card will say"
)

_FOLDS, _DEPTH = 5, 3
#: Files of one encoding differ in bytes only by how much detail the pictures hold: no shortcut, but what is looked for.
_ENCODING = ("format", "width", "height", "quality", "subsampling")
_DETAIL = ("bytes", "bytes_per_pixel")

Matrix = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Guard:
    """What the guard found: the balanced accuracy of each fact that varies; which are too good, which suspicious."""

    accuracy: dict[str, float]
    refused: tuple[str, ...]
    warned: tuple[str, ...]
    #: The facts that the tree on all together asks for most, the first one first.
    asked: tuple[str, ...]

    @property
    def warning(self) -> str | None:
        """One line for people, or None when nothing is suspicious."""
        named = [*self.refused, *self.warned]
        if not named:
            return None
        told = ", ".join(f"{_title(name, self.asked)} ({self.accuracy[name]:.2f})" for name in named)
        return f"the labels can partly be told without looking at a face (balanced accuracy; 0.5 tells nothing): {told}"

    def card(self) -> dict[str, float]:
        """Fact to balanced accuracy, for the checkpoint's card."""
        return {name: round(accuracy, 4) for name, accuracy in self.accuracy.items()}


def check(
    examples: Sequence[Example], *, accept: bool = False, prepare: Callable[[bytes], bytes] | None = None
) -> Guard:
    """Judge one split as the detector will see it: ``prepare`` is what is done to each file first (`normalise`).

    Raises `ShortcutError` for a fact that separates the labels, unless it is accepted, and one `ManifestError` for all
    pictures that cannot be used. Needs two groups of each label; with fewer nothing can be said, and nothing is.
    """
    found = _read(examples, prepare)
    fake = np.array([example.fake for example in examples], dtype=np.bool_)
    guard = _judge(found, fake, np.array([example.group for example in examples]))
    if guard.refused and not accept:
        raise ShortcutError({_title(name, guard.asked): guard.accuracy[name] for name in guard.refused}, REMEDY)
    return guard


def _read(examples: Sequence[Example], prepare: Callable[[bytes], bytes] | None) -> list[Facts]:
    def one(example: Example) -> Facts | str:
        try:
            data = example.path.read_bytes()
            return facts(prepare(data) if prepare is not None else data)
        except (OSError, Rejected) as error:
            return f"{example.path}: {error}"

    with ThreadPoolExecutor(cores()) as pool:
        results = list(pool.map(one, examples))
    broken = [result for result in results if isinstance(result, str)]
    if broken:
        raise ManifestError(f"{len(broken)} pictures cannot be used (the first: {broken[0]})")
    return [result for result in results if isinstance(result, Facts)]


def _judge(found: Sequence[Facts], fake: Labels, groups: NDArray[np.str_]) -> Guard:
    folds = _folds(fake, groups)
    columns = _columns(found) if folds else {}
    if not columns:
        return Guard({}, (), (), ())
    matrices = columns | ({TOGETHER: np.hstack(list(columns.values()))} if len(columns) > 1 else {})
    predicted = {name: _predicted(matrix, fake, folds) for name, matrix in matrices.items()}
    accuracy = {name: _balanced_accuracy(fake, guess) for name, guess in predicted.items()}
    telling = [name for name in accuracy if _p_value(fake, predicted[name], groups) < P_VALUE]
    return Guard(
        accuracy,
        refused=tuple(name for name in telling if accuracy[name] >= REFUSED),
        warned=tuple(name for name in telling if WARNED <= accuracy[name] < REFUSED),
        asked=_asked(columns, fake),
    )


def _columns(found: Sequence[Facts]) -> dict[str, Matrix]:
    """(n, k) numbers for each fact that varies; words become a column for each word."""
    rows: dict[str, list[Any]] = {field.name: [getattr(row, field.name) for row in found] for field in fields(Facts)}
    varying = {name: values for name, values in rows.items() if len(set(values)) > 1}
    one_jpeg_encoding = rows["format"][0] == "JPEG" and not varying.keys() & set(_ENCODING)
    idle = _DETAIL if one_jpeg_encoding else () if varying.keys() & {"width", "height"} else _DETAIL[1:]
    return {name: _numbers(values) for name, values in varying.items() if name not in idle}


def _numbers(values: list[Any]) -> Matrix:
    if isinstance(values[0], str):
        return np.array([[float(value == word) for word in sorted(set(values))] for value in values])
    return np.array(values, dtype=np.float64)[:, None]


def _folds(fake: Labels, groups: NDArray[np.str_]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Positions to fit on and to judge on; no group is in both. Empty when a label has fewer than two groups."""
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
    """The chance of such an accuracy where nothing tells: two proportions, normal approximation, one-sided.

    Pictures of one group are no independent witnesses, so that groups are counted and not pictures.
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
