"""Fit with the backbone in the loop: unfrozen, or frozen to show that the cached fit is the same.

Each rank decodes and runs its share of every batch under DistributedDataParallel; BatchNorm statistics do not change.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.detector.model import Detector
from trainer.distributed import batch_shards
from trainer.distributed.process import cores
from trainer.distributed.ranks import Ranks
from trainer.errors import TrainerError
from trainer.fitting.embed import Source, pixels_of
from trainer.fitting.loop import Recipe, TrainingLoop, batch_rows
from trainer.fitting.snapshot import Progress, Snapshot
from trainer.pixels.preprocess import Pixels

#: The number of steps whose pictures are decoded ahead.
_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Unfreezing:
    """Which part of the backbone trains ("none", "last:N" blocks and all that follow, or "all"), and how fast."""

    what: str = "none"
    learning_rate: float = 1e-5

    def parameters(self, backbone: nn.Module) -> list[nn.Parameter]:
        """The backbone's parameters that train, now with ``requires_grad``.

        Raises a `TrainerError` when ``what`` does not name a part of this backbone.
        """
        chosen = [parameter for module in self._modules(backbone) for parameter in module.parameters()]
        for parameter in chosen:
            parameter.requires_grad_()
        return chosen

    def _modules(self, backbone: nn.Module) -> list[nn.Module]:
        children = dict(backbone.named_children())
        blocks = list(children["blocks"].children()) if "blocks" in children else []
        match self.what.split(":"):
            case ["none"]:
                return []
            case ["all"]:
                return [backbone]
            case ["last", number] if number.isdecimal() and 1 <= int(number) <= len(blocks):
                names = list(children)
                return [*blocks[-int(number) :], *(children[name] for name in names[names.index("blocks") + 1 :])]
        raise TrainerError(
            f"--unfreeze {self.what!r} is not none, last:N with N of the backbone's {len(blocks)} blocks, or all"
        )


@dataclass(frozen=True, slots=True)
class LabelledSources:
    """Labelled pictures: N sources and their (N,) labels, 1 for fake."""

    sources: Sequence[Source]
    labels: Tensor


def finetune(  # noqa: PLR0913 - what is fitted, how, and by whom
    detector: Detector,
    data: LabelledSources,
    recipe: Recipe,
    unfreezing: Unfreezing,
    ranks: Ranks,
    snapshot: Snapshot,
    stopping: Callable[[], bool] = lambda: False,
    *,
    report: Callable[[int, dict[str, float]], None] = lambda _step, _found: None,
) -> Progress:
    """Fit ``detector`` in place; returns the fit's progress, with each step's loss over the whole batch.

    Raises a `TrainerError` when the batch has fewer pictures than there are ranks, and `Stopped`, after saving, when
    asked to stop.
    """
    batch_shards.check_batch(recipe.batch, ranks)
    _share_dropout(detector, recipe, ranks)
    optimizer = prepare_optimizer(detector, recipe, unfreezing, ranks.device)
    parallel = _parallel(detector, ranks)
    ahead = _Ahead(data.sources, recipe, ranks)
    unfrozen = len(optimizer.param_groups) > 1
    rounded = ranks.device.type == "cuda" and unfrozen  # a frozen one must give the losses of the cached fit

    def loss_of(rows: Tensor, step: int) -> Tensor:
        mine = rows[ranks.rank :: ranks.size]
        with torch.autocast(ranks.device.type, torch.bfloat16, enabled=rounded):
            logits = parallel(torch.from_numpy(ahead.pixels(step)).to(ranks.device)).float()
        whole = recipe.loss(logits, data.labels[mine].to(ranks.device), reduction="sum") / len(rows)
        return batch_shards.average_over_ranks(whole, ranks)

    any_stops = batch_shards.any_rank(stopping, ranks)
    loop = TrainingLoop(recipe, len(data.sources), snapshot, any_stops, report=report, shown=ranks.first)
    progress = loop.run(detector, optimizer, loss_of, ranks.device)
    detector.eval()
    return progress


def prepare_optimizer(
    detector: Detector, recipe: Recipe, unfreezing: Unfreezing, device: torch.device
) -> torch.optim.Adagrad:
    """Put the detector on its device and in training mode; returns its optimiser.

    It has one group of parameters or, with a backbone that trains, two. AdaGrad allocates its sums where the parameters
    are, so they must be on the device first.
    """
    detector.to(device).train()
    groups = [{"params": list(detector.head.parameters()), "lr": recipe.learning_rate}]
    if backbone := unfreezing.parameters(detector.backbone):
        groups.append({"params": backbone, "lr": unfreezing.learning_rate})
    return torch.optim.Adagrad(groups, fused=True)


def _share_dropout(detector: Detector, recipe: Recipe, ranks: Ranks) -> None:
    """Let the head drop what one rank would drop in the whole batch."""
    for place, layer in enumerate(detector.head.layers):
        if isinstance(layer, nn.Dropout):
            detector.head.layers[place] = batch_shards.ShardedDropout(layer, recipe.batch, ranks)


def _parallel(detector: Detector, ranks: Ranks) -> nn.Module:
    """The detector, with gradients averaged over the ranks."""
    if ranks.size == 1:
        return detector
    ranks.meet()  # ranks arrive at different times, and collectives time out
    partly = detector.embedding == "multilevel"  # it does not use the layers after the blocks
    return DistributedDataParallel(detector, broadcast_buffers=False, find_unused_parameters=partly)


class _Ahead:
    """Decodes this rank's pictures of the next steps in threads."""

    def __init__(self, sources: Sequence[Source], recipe: Recipe, ranks: Ranks) -> None:
        self._sources, self._recipe, self._ranks = sources, recipe, ranks
        self._pool = ThreadPoolExecutor(cores())
        self._waiting: deque[tuple[int, list[Future[Pixels]]]] = deque()

    def pixels(self, step: int) -> Pixels:
        """(B, 512, 512, 3) uint8 of a step; steps must come in order."""
        first = self._waiting[-1][0] + 1 if self._waiting else step
        for ahead in range(first, min(step + _AHEAD, self._recipe.steps)):
            self._waiting.append((ahead, list(self._submitted(ahead))))
        _, futures = self._waiting.popleft()
        return np.stack([future.result() for future in futures])

    def _submitted(self, step: int) -> Iterator[Future[Pixels]]:
        rows = batch_rows(step, len(self._sources), self._recipe)[self._ranks.rank :: self._ranks.size]
        for row in rows.tolist():
            yield self._pool.submit(pixels_of, self._sources[row])
