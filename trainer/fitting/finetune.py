"""Fit with the backbone in the loop: unfrozen, or frozen to show that the cached fit is the same.

Each rank decodes and runs its share of every batch under DistributedDataParallel; BatchNorm statistics stay put.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.parallel import DistributedDataParallel

from trainer.distributed import shares
from trainer.distributed.cores import cores
from trainer.fitting.embed import Source, pixels_of
from trainer.errors import TrainerError
from trainer.fitting.loop import Loop, Recipe, batch_rows
from trainer.detector.model import Detector
from trainer.pixels.preprocess import Pixels
from trainer.distributed.ranks import Ranks
from trainer.fitting.snapshot import Snapshot

#: Steps whose pictures are decoded ahead.
_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Unfreezing:
    """Which of the backbone trains: "none", "last:N" blocks with all that comes after them, or "all"; how fast."""

    what: str = "none"
    learning_rate: float = 1e-5

    def parameters(self, backbone: nn.Module) -> list[nn.Parameter]:
        """The backbone's parameters that train, marked as such."""
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
            f"--unfreeze {self.what!r}: none, last:N with N of the backbone's {len(blocks)} blocks, or all"
        )


@dataclass(frozen=True, slots=True)
class Pictures:
    """Labelled pictures: N sources and their (N,) labels, 1 for fake."""

    sources: Sequence[Source]
    labels: Tensor


def finetune(
    detector: Detector,
    data: Pictures,
    recipe: Recipe,
    unfreezing: Unfreezing,
    ranks: Ranks,
    snapshot: Snapshot,
    stopping: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Fit ``detector`` in place; each step's loss over the whole batch.

    Raises a `TrainerError` when the batch has fewer pictures than there are ranks.
    """
    shares.check(recipe.batch, ranks)
    _share_dropout(detector, recipe, ranks)
    optimizer = ready(detector, recipe, unfreezing, ranks.device)
    parallel = _parallel(detector, ranks)
    ahead = _Ahead(data.sources, recipe, ranks)
    unfrozen = len(optimizer.param_groups) > 1
    rounded = ranks.device.type == "cuda" and unfrozen  # frozen it is to give the cached fit's losses

    def loss_of(rows: Tensor, step: int) -> Tensor:
        mine = rows[ranks.rank :: ranks.size]
        with torch.autocast(ranks.device.type, torch.bfloat16, enabled=rounded):
            logits = parallel(torch.from_numpy(ahead.pixels(step)).to(ranks.device)).float()
        target = recipe.targets(data.labels[mine].to(ranks.device))
        whole = binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(rows)
        return shares.averaged(whole, ranks)

    loop = Loop(recipe, len(data.sources), snapshot, shares.agreed(stopping, ranks), shown=ranks.first)
    losses = loop.run(detector, optimizer, loss_of, ranks.device)
    detector.eval()
    return losses


def ready(detector: Detector, recipe: Recipe, unfreezing: Unfreezing, device: torch.device) -> torch.optim.Adagrad:
    """Put the detector on its device and in training; its optimiser, with one group of parameters or, unfrozen, two.

    AdaGrad makes its sums when it is made, where the parameters lie: so they have to be on the device before.
    """
    detector.to(device).train()
    groups = [{"params": list(detector.head.parameters()), "lr": recipe.learning_rate}]
    if backbone := unfreezing.parameters(detector.backbone):
        groups.append({"params": backbone, "lr": unfreezing.learning_rate})
    return torch.optim.Adagrad(groups, fused=True)


def _share_dropout(detector: Detector, recipe: Recipe, ranks: Ranks) -> None:
    """Let the head drop what one rank would."""
    for place, layer in enumerate(detector.head.layers):
        if isinstance(layer, nn.Dropout):
            detector.head.layers[place] = shares.DropoutShare(layer, recipe.batch, ranks)


def _parallel(detector: Detector, ranks: Ranks) -> nn.Module:
    """The detector, whose gradients are averaged over the ranks."""
    if ranks.size == 1:
        return detector
    ranks.meet()  # the ranks' ways here differ in length; collectives have little patience
    partly = detector.embedding == "multilevel"  # which has no use for what comes after the blocks
    return DistributedDataParallel(detector, broadcast_buffers=False, find_unused_parameters=partly)


class _Ahead:
    """This rank's pictures of each step, decoded ahead."""

    def __init__(self, sources: Sequence[Source], recipe: Recipe, ranks: Ranks) -> None:
        self._sources, self._recipe, self._ranks = sources, recipe, ranks
        self._pool = ThreadPoolExecutor(cores())
        self._waiting: deque[tuple[int, list[Future[Pixels]]]] = deque()

    def pixels(self, step: int) -> Pixels:
        """(B, 512, 512, 3) of a step; steps are asked for in order."""
        first = self._waiting[-1][0] + 1 if self._waiting else step
        for ahead in range(first, min(step + _AHEAD, self._recipe.steps)):
            self._waiting.append((ahead, list(self._submitted(ahead))))
        _, futures = self._waiting.popleft()
        return np.stack([future.result() for future in futures])

    def _submitted(self, step: int) -> Iterator[Future[Pixels]]:
        rows = batch_rows(step, len(self._sources), self._recipe)[self._ranks.rank :: self._ranks.size]
        for row in rows.tolist():
            yield self._pool.submit(pixels_of, self._sources[row])
