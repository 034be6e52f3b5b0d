"""What makes the shares of a batch, one a rank, come to what one rank would make of the whole batch."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.distributed.ranks import Ranks


class DropoutShare(nn.Dropout):
    """Drops of a share what one rank would drop of it in the whole batch: every rank draws for all rows."""

    def __init__(self, whole: nn.Dropout, batch: int, ranks: Ranks) -> None:
        super().__init__(whole.p)
        self._batch, self._ranks = batch, ranks

    def forward(self, activations: Tensor) -> Tensor:
        """(B / ranks, D) → (B / ranks, D)."""
        if not self.training:
            return activations
        factors = super().forward(activations.new_ones(self._batch, activations.shape[1]))
        return activations * factors[self._ranks.rank :: self._ranks.size]


def check(batch: int, ranks: Ranks) -> None:
    """Refuse batches that leave a rank with nothing to do."""
    if batch < ranks.size:
        raise TrainerError(f"a batch of {batch} cannot be shared by {ranks.size} ranks: start at most {batch}")


def averaged(share: Tensor, ranks: Ranks) -> Tensor:
    """This rank's part of the batch's loss, so scaled that the average of the ranks' gradients is the batch's."""
    if ranks.size == 1:
        return share
    total = share.detach().clone()
    dist.all_reduce(total)
    scaled = share * ranks.size
    return scaled + (total - scaled).detach()  # the value of the whole, with this share's gradient


def agreed(asked: Callable[[], bool], ranks: Ranks) -> Callable[[], bool]:
    """Whether any rank is asked to stop: all hear of it at the same step, and none waits for one that has left."""

    def any_asked() -> bool:
        flag = torch.tensor(float(asked()), device=ranks.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    return any_asked if ranks.size > 1 else asked
