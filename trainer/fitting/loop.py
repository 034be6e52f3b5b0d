"""The fit's loop: batch after batch, so that a step depends on nothing but its number; saved, watched and stoppable."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from tqdm import tqdm

from trainer.fitting import snapshot
from trainer.fitting.snapshot import Progress, Snapshot
from trainer.distributed.stop import Stopped

#: A snapshot costs about 60 ms; 250 steps about 4 s.
STEPS_PER_SNAPSHOT = 250
_STREAM = 0x9E3779B9


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the fit may be told; the defaults are the paper's."""

    steps: int = 10_000
    batch: int = 32
    learning_rate: float = 1e-4
    seed: int = 0
    #: Standardise the embedding's features first.
    scale: bool = False
    #: Stop when the validation loss has not improved for so many snapshots, and keep the best weights; 0: never.
    patience: int = 0
    #: Labels are so much less than sure: 0.1 makes them 0.05 and 0.95 (Szegedy et al., "Rethinking the Inception
    #: Architecture for Computer Vision", CVPR 2016, section 7).
    label_smoothing: float = 0.0

    def targets(self, labels: Tensor) -> Tensor:
        """(B,) labels, 0 real and 1 fake, as the loss is to see them."""
        return labels * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else labels


@dataclass(frozen=True, slots=True)
class Loop:
    """Runs a recipe over ``size`` examples. ``validate`` gives a validation loss, where somebody watches it."""

    recipe: Recipe
    size: int
    snapshot: Snapshot
    stopping: Callable[[], bool] = lambda: False
    validate: Callable[[], float] | None = None
    shown: bool = True

    def run(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[Tensor, int], Tensor],
        device: torch.device,
    ) -> Tensor:
        """Each step's loss. ``loss_of(rows, step)`` gives a batch's. Raises `Stopped`, after saving, when asked."""
        progress = Progress(torch.zeros(self.recipe.steps, device=device))
        self.snapshot.restore(module, optimizer, progress)
        with tqdm(
            total=self.recipe.steps, initial=progress.step, desc="fit", unit="step", disable=not self.shown
        ) as bar:
            while progress.step < self.recipe.steps and not self._patience_is_over(progress):
                self._step(module, optimizer, loss_of, progress)
                bar.update()
        if progress.best:
            snapshot.put_back(module, progress.best)
        return progress.losses[: progress.step]

    def _step(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[Tensor, int], Tensor],
        progress: Progress,
    ) -> None:
        if self.stopping():
            self.snapshot.save(module, optimizer, progress)
            raise Stopped
        torch.manual_seed(self.recipe.seed + progress.step)  # dropout's
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(batch_rows(progress.step, self.size, self.recipe), progress.step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress.losses[progress.step] = loss.detach()
        progress.step += 1
        if progress.step % STEPS_PER_SNAPSHOT == 0:
            self._watch(module, progress)
            self.snapshot.save(module, optimizer, progress)

    def _watch(self, module: nn.Module, progress: Progress) -> None:
        if self.validate is not None and (loss := self.validate()) < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            progress.best = snapshot.weights(module)

    def _patience_is_over(self, progress: Progress) -> bool:
        waited = (progress.step - progress.best_step) // STEPS_PER_SNAPSHOT
        return self.validate is not None and self.recipe.patience > 0 and waited >= self.recipe.patience


def batch_rows(step: int, size: int, recipe: Recipe) -> Tensor:
    """Row numbers of a step's batch: epoch after epoch of seeded shuffles, cut without regard to their ends."""
    start, end = step * recipe.batch, (step + 1) * recipe.batch
    parts = []
    for epoch in range(start // size, (end - 1) // size + 1):
        order = _shuffled(epoch, size, recipe.seed)
        parts.append(order[max(0, start - epoch * size) : end - epoch * size])
    return torch.cat(parts)


@lru_cache(maxsize=2)  # a batch lies in one epoch, or at the border of two
def _shuffled(epoch: int, size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * _STREAM + epoch) % 2**63)
    return torch.randperm(size, generator=generator)
