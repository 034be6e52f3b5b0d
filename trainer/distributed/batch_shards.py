"""Shards a batch over ranks so that together they compute what one rank would compute on the whole batch."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.distributed.ranks import Ranks
from trainer.errors import TrainerError


class ShardedDropout(nn.Dropout):
    """Drops what one rank would drop in the whole batch: every rank draws for all rows and uses its own."""

    def __init__(self, whole: nn.Dropout, batch: int, ranks: Ranks) -> None:
        super().__init__(whole.p)
        self._batch, self._ranks = batch, ranks

    def forward(self, activations: Tensor) -> Tensor:
        """(B / ranks, D) → (B / ranks, D)."""
        if not self.training:
            return activations
        factors = super().forward(activations.new_ones(self._batch, activations.shape[1]))
        return activations * factors[self._ranks.rank :: self._ranks.size]


def check_batch(batch: int, ranks: Ranks) -> None:
    """Raise `TrainerError` for a batch that leaves a rank with nothing to do."""
    if batch < ranks.size:
        raise TrainerError(f"a batch of {batch} is too small for {ranks.size} ranks: start at most {batch}")


def average_over_ranks(share: Tensor, ranks: Ranks) -> Tensor:
    """The batch's loss from this rank's ``share``, scaled so that the ranks' average gradient is the batch's."""
    if ranks.size == 1:
        return share
    total = share.detach().clone()
    dist.all_reduce(total)
    scaled = share * ranks.size
    return scaled + (total - scaled).detach()  # the value of the whole, with this share's gradient


def any_rank(asked: Callable[[], bool], ranks: Ranks) -> Callable[[], bool]:
    """A function that says whether any rank is asked to stop.

    All ranks learn it at the same step, so that none waits for one that has left.
    """

    def any_asked() -> bool:
        flag = torch.tensor(float(asked()), device=ranks.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    return any_asked if ranks.size > 1 else asked
