"""Leave-out: refits the head without each family, engine or source in turn, and measures it on what it has not seen.

It estimates the TPR on an unknown engine and the FPR on unknown people. Each refit also leaves out a part of the real
sources, and the reals of that part set the threshold: they are as strange to the head as a platform's are. The backbone
is frozen, so it works on embeddings; ranks share the refits.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from db.stats.hash_fraction import hash_fraction
from trainer.data.manifest import Example
from trainer.distributed.ranks import Ranks
from trainer.errors import ManifestError
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.head import score_rows
from trainer.fitting.loop import Recipe
from trainer.fitting.refit import fit_examples
from trainer.fitting.snapshot import Snapshot
from trainer.judging.left_out import LeftOutScores, real_source_rows, row_of
from trainer.judging.results import LeftOut, LeftOutKind

#: In how many parts the real sources are left out.
FOLDS = 10
#: The number of rows copied at once.
_PART = 4096


@dataclass(frozen=True, slots=True)
class Refits:
    """What refits need: the rows to train on, the pictures to judge by, and how to fit."""

    train: EmbeddedExamples
    judged: EmbeddedExamples
    recipe: Recipe
    place: Ranks
    folder: Path
    stopping: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class _Refit:
    """One refit: without the fakes of ``name``, and without the real sources of one fold.

    The fold `_WHOLE` is all reals of the source ``name``, for a source that is spread over folds.
    """

    kind: LeftOutKind | None
    name: str
    fold: int


@dataclass(frozen=True, slots=True)
class _Judged:
    """What a refit says of reals and fakes that it has not seen, by their places in ``judged``."""

    refit: _Refit
    reals: dict[int, float]
    fakes: dict[int, float]


def leave_out(refits: Refits, kinds: Sequence[LeftOutKind], target_fpr: float, folds: int = FOLDS) -> LeftOut:
    """One row for each family, engine or source of fakes that can be left out, and one for each source of reals.

    The same on every rank; scratch files go below ``refits.folder``. Each row has its own threshold, certified on the
    reals of all folds. Raises `ManifestError` when nothing can be left out, and `Stopped` when asked to stop.
    """
    named = [(kind, name) for kind in kinds for name in names_to_leave_out(kind, refits.train.examples)]
    by_source: list[tuple[LeftOutKind | None, str]] = [(None, "")] if "source" in kinds else []
    parts = real_folds(refits.judged.examples, folds)
    asked = [_Refit(kind, name, fold) for kind, name in [*named, *by_source] for fold in sorted(set(parts))]
    if by_source:
        asked += [_Refit(None, source, _WHOLE) for source in _spread(refits.judged.examples, parts)]
    found = _refit_all(refits, asked, parts)
    fakes = tuple(
        row_of(kind, name, _pooled(found, kind, name), target_fpr)
        for kind, name in named
        if _pooled(found, kind, name).fakes.size
    )
    reals = _pooled(found, None, "").by_place
    whole = {place: score for one in found if one.refit.fold == _WHOLE for place, score in one.reals.items()}
    return LeftOut(
        folds=len(set(parts) - {_NEVER}),
        target_fpr=target_fpr,
        fakes=fakes,
        reals=real_source_rows(refits.judged.examples, reals, whole, target_fpr) if reals else (),
    )


def cross_fit(refits: Refits, folds: int = FOLDS) -> dict[int, float]:
    """The score of each real picture of ``judged``, by its place, from a head that no picture of its source trained.

    Raises `ManifestError` when all reals are of one source, and `Stopped` when asked to stop.
    """
    sources = sorted({example.source for example in refits.train.examples if not example.fake})
    if len(sources) < 2:  # noqa: PLR2004 - without the only one there is nothing to fit on
        raise ManifestError(f"no source of reals can be left out: split train has only {', '.join(sources)}")
    parts = real_folds(refits.judged.examples, folds)
    found = _refit_all(refits, [_Refit(None, "", fold) for fold in sorted(set(parts))], parts)
    return _pooled(found, None, "").by_place


def names_to_leave_out(kind: LeftOutKind, train: Sequence[Example]) -> list[str]:
    """The families, engines or sources of the fakes that were trained on beside others, sorted.

    Raises `ManifestError` when there are not two.
    """
    found = sorted({_value(example, kind) for example in train if example.fake})
    if len(found) < 2:  # noqa: PLR2004 - without the only one there is nothing to fit on
        raise ManifestError(f"no {kind} can be left out: the fakes of split train have only {', '.join(found)}")
    return found


def real_folds(judged: Sequence[Example], folds: int) -> list[int]:
    """The fold of each example: whole sources of reals, the largest first, to the smallest fold; fakes are in none.

    A source with more reals than a fold holds is spread over all folds by its groups: without it the refit would be
    another detector.
    """
    sizes = Counter(example.source for example in judged if not example.fake)
    spread = {source for source, size in sizes.items() if size > sizes.total() / folds}
    totals, places = [0] * folds, dict.fromkeys(spread, _NEVER)
    for source in sorted(sizes.keys() - spread, key=lambda name: (-sizes[name], name)):
        places[source] = totals.index(min(totals))
        totals[places[source]] += sizes[source]
    return [_NEVER if e.fake else _by_group(e, folds) if e.source in spread else places[e.source] for e in judged]


def _by_group(example: Example, folds: int) -> int:
    return int(hash_fraction(f"fold {example.group}".encode()) * folds)


#: The fold of pictures that are in none, and that of all reals of one source.
_NEVER, _WHOLE = -1, -2


def _value(example: Example, kind: LeftOutKind) -> str:
    return {"family": example.family, "engine": example.engine, "source": example.source}[kind]


def _refit_all(refits: Refits, asked: Sequence[_Refit], parts: Sequence[int]) -> list[_Judged]:
    asked = [one for one in asked if one.fold != _NEVER]
    mine = [_refit(refits, asked[number], np.array(parts)) for number in refits.place.share(len(asked))]
    return _from_all(mine, refits.place)


def _refit(refits: Refits, asked: _Refit, parts: NDArray[np.intp]) -> _Judged:
    judged = refits.judged
    out = np.array([_is_in_fold(e, part, asked) for e, part in zip(judged.examples, parts.tolist(), strict=True)])
    hidden = {_key(judged.examples[place]) for place in np.flatnonzero(out).tolist()}
    kept = np.array([not _is_left_out(example, asked, hidden) for example in refits.train.examples])
    with TemporaryDirectory(prefix=".left-out-", dir=refits.folder) as scratch:
        train = _rows(refits.train, np.flatnonzero(kept), Path(scratch) / "embeddings.npy")
        snapshot = Snapshot(Path(scratch) / "state.safetensors", repr(asked))
        head, _ = fit_examples(train, refits.recipe, snapshot, refits.place.device, refits.stopping)
    reals = np.flatnonzero(out)
    fakes = np.flatnonzero([asked.kind is not None and _is_of(e, asked) for e in judged.examples])
    scores = score_rows(head, judged.embeddings[np.concatenate([reals, fakes])]).tolist()
    return _Judged(
        asked,
        dict(zip(reals.tolist(), scores[: len(reals)], strict=True)),
        dict(zip(fakes.tolist(), scores[len(reals) :], strict=True)),
    )


def _is_left_out(example: Example, asked: _Refit, hidden: set[tuple[str, str]]) -> bool:
    return _is_of(example, asked) if example.fake else _key(example) in hidden


def _is_in_fold(example: Example, part: int, asked: _Refit) -> bool:
    return not example.fake and (example.source == asked.name if asked.fold == _WHOLE else part == asked.fold)


def _spread(examples: Sequence[Example], parts: Sequence[int]) -> list[str]:
    """The sources of reals that are in several folds."""
    pairs = {(example.source, part) for example, part in zip(examples, parts, strict=True) if not example.fake}
    return sorted(source for source, n in Counter(source for source, _ in pairs).items() if n > 1)


def _key(example: Example) -> tuple[str, str]:
    """What keeps pictures together: the source and, of a source that is spread over folds, the group."""
    return example.source, example.group


def _is_of(example: Example, asked: _Refit) -> bool:
    return example.fake and asked.kind is not None and _value(example, asked.kind) == asked.name


def _rows(data: EmbeddedExamples, rows: NDArray[np.intp], path: Path) -> EmbeddedExamples:
    """Copy some rows to a file at ``path``, because they need not fit into memory."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(rows), data.embeddings.shape[1]))
    for start in range(0, len(rows), _PART):
        out[start : start + _PART] = data.embeddings[rows[start : start + _PART]]
    return EmbeddedExamples([data.examples[row] for row in rows], out)


def _pooled(found: Sequence[_Judged], kind: LeftOutKind | None, name: str) -> LeftOutScores:
    """All folds of one name: each real is in one of them, each fake in every one."""
    folds = [one for one in found if (one.refit.kind, one.refit.name) == (kind, name)]
    return LeftOutScores(
        tuple(np.array(list(one.reals.values())) for one in folds),
        np.array([list(one.fakes.values()) for one in folds]),
        {place: score for one in folds for place, score in one.reals.items()},
    )


def _from_all(mine: list[_Judged], place: Ranks) -> list[_Judged]:
    if place.size == 1:
        return mine
    place.meet()  # ranks may have different numbers of refits
    parts: list[list[_Judged]] = [[] for _ in range(place.size)]
    dist.all_gather_object(parts, mine)
    return sorted(
        (one for part in parts for one in part), key=lambda one: (str(one.refit.kind), one.refit.name, one.refit.fold)
    )
