"""What an unknown engine would meet: the head is fitted again without each engine in turn, and judged on that one.

The backbone is frozen, so that all of it works on embeddings; ranks share the engines between them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from trainer.fitting.cache import Embeddings
from trainer.judging.conditions import Sorted, figures
from trainer.errors import ManifestError
from trainer.judging.evaluate import lowest_threshold
from trainer.judging.evaluation import LeftOut
from trainer.fitting.head import Labelled, fit_head, score_embeddings
from trainer.fitting.loop import Recipe
from trainer.data.manifest import Example
from trainer.detector.model import Detector, Head
from trainer.distributed.ranks import Ranks
from trainer.fitting.snapshot import Snapshot

#: Rows that are copied at once.
_PART = 4096


@dataclass(frozen=True, slots=True)
class Embedded:
    """Examples and their (n, D) embeddings; an example that was trained on in several views is there several times."""

    examples: Sequence[Example]
    embeddings: Embeddings


def leave_one_engine_out(
    train: Embedded,
    held_out: Embedded,
    recipe: Recipe,
    target_fpr: float,
    place: Ranks,
    folder: Path,
    stopping: Callable[[], bool] = lambda: False,
) -> tuple[LeftOut, ...]:
    """One row for each engine that can be left out, by name; the same on every rank. Scratch files go below ``folder``.

    Each head is judged at a threshold of its own, set on the held-out reals at the target. Raises `ManifestError` when
    there is no engine to leave out, and `Stopped` when asked to stop.
    """
    engines = engines_to_leave_out(train.examples, held_out.examples)
    mine = []
    for number in place.share(len(engines)):
        with TemporaryDirectory(prefix=".left-out-", dir=folder) as scratch:
            head = _fit_without(engines[number], train, recipe, place, Path(scratch), stopping)
        mine.append(_judged(engines[number], head, held_out, recipe.steps, target_fpr))
    return tuple(sorted(_from_all(mine, place), key=lambda row: row.engine))


def engines_to_leave_out(train: Sequence[Example], held_out: Sequence[Example]) -> list[str]:
    """Engines that were trained on beside others, and have held-out faces to judge by."""
    trained_on = {example.engine for example in train if example.fake}
    judged_by = Sorted.out_of(held_out, np.zeros(len(held_out)), "eval").faces
    found = sorted(trained_on & judged_by.keys())
    if len(trained_on) < 2 or not found:  # noqa: PLR2004 - one engine, and nothing to fit on without it
        raise ManifestError(
            f"no engine can be left out: split train has {len(trained_on)}, of which split eval has {len(found)}"
        )
    return found


def _fit_without(
    engine: str, train: Embedded, recipe: Recipe, place: Ranks, scratch: Path, stopping: Callable[[], bool]
) -> Head:
    kept = np.array([not example.fake or example.engine != engine for example in train.examples])
    fake = np.array([example.fake for example in train.examples])
    embeddings = _rows(train.embeddings, np.flatnonzero(kept), scratch / "embeddings.npy")
    labels = torch.from_numpy(fake[kept]).float().to(place.device)
    snapshot = Snapshot(scratch / "state.safetensors", engine)
    head, _ = fit_head(Labelled(embeddings, labels), recipe, snapshot, stopping)
    return head


def _rows(embeddings: Embeddings, rows: NDArray[np.intp], path: Path) -> Embeddings:
    """Some rows, copied to a file: all runs are fitted from files, for they need not fit into memory."""
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(rows), embeddings.shape[1]))
    for start in range(0, len(rows), _PART):
        out[start : start + _PART] = embeddings[rows[start : start + _PART]]
    return out


def _judged(engine: str, head: Head, held_out: Embedded, steps: int, target_fpr: float) -> LeftOut:
    device = next(head.parameters()).device
    detector = Detector(nn.Identity(), head, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).to(device)  # embedded already
    split = Sorted.out_of(held_out.examples, score_embeddings(detector, held_out.embeddings), "eval")
    threshold = lowest_threshold(split.reals, target_fpr)
    against = figures(split.reals, split.faces[engine], threshold)
    return LeftOut(engine=engine, steps=steps, threshold=threshold, **against.model_dump())


def _from_all(mine: list[LeftOut], place: Ranks) -> list[LeftOut]:
    if place.size == 1:
        return mine
    place.meet()  # some had more to fit than others
    parts: list[list[LeftOut]] = [[] for _ in range(place.size)]
    dist.all_gather_object(parts, mine)
    return [row for part in parts for row in part]
