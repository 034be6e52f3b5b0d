"""The training loop. A step depends only on its number, so a run can be stopped, saved, resumed and continued."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from trainer.detector.model import DROPOUT, HIDDEN
from trainer.distributed.process import Stopped
from trainer.fitting import snapshot
from trainer.fitting.snapshot import Look, Progress, Snapshot
from trainer.progress import progress_bar

#: A snapshot costs about 60 ms; 250 steps about 4 s.
STEPS_PER_SNAPSHOT = 250
_STREAM = 0x9E3779B9
#: The widths of the paper's head.
PAPERS_WIDTHS = (HIDDEN, HIDDEN)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The hyperparameters of a fit; the defaults are the paper's."""

    steps: int = 10_000
    batch: int = 32
    learning_rate: float = 1e-4
    seed: int = 0
    #: Standardise the embedding's features first.
    scale: bool = False
    #: Stop when the validation loss has not improved for this many snapshots, and keep the best weights; 0: never.
    patience: int = 0
    #: How far labels are smoothed: 0.1 makes them 0.05 and 0.95 (Szegedy et al., "Rethinking the Inception
    #: Architecture for Computer Vision", CVPR 2016, section 7).
    label_smoothing: float = 0.0
    #: The widths of the head's hidden layers; none: a linear head, fitted to its optimum, without steps.
    widths: tuple[int, ...] = PAPERS_WIDTHS
    #: The share of activations that are dropped before the score of a head with hidden layers.
    dropout: float = DROPOUT
    optimizer: Literal["adagrad", "adamw"] = "adagrad"
    weight_decay: float = 0.01
    #: Of a linear head: the penalty on squared weights, and how many blends of each fake with reals it is fitted on.
    l2: float = 0.01
    blends: int = 0
    #: A source of n pictures weighs as much as √n, and fakes as much as reals; otherwise each picture the same.
    weigh_sources: bool = False
    #: The weight of a real and of a fake picture in the loss.
    class_weights: tuple[float, float] = (1.0, 1.0)

    def targets(self, labels: Tensor) -> Tensor:
        """(B,) targets of the loss for labels that are 0 for real and 1 for fake."""
        return labels * (1 - self.label_smoothing) + self.label_smoothing / 2 if self.label_smoothing else labels

    def loss(
        self,
        logits: Tensor,
        labels: Tensor,
        reduction: Literal["mean", "sum"] = "mean",
        weights: Tensor | None = None,
    ) -> Tensor:
        """Binary cross-entropy of (B,) logits, over the batch's number of pictures.

        It is weighted by class, and by each picture's ``weights``, (B,), where they are given.
        """
        return binary_cross_entropy_with_logits(
            logits, self.targets(labels), weight=self._weights(labels, weights), reduction=reduction
        )

    def _weights(self, labels: Tensor, weights: Tensor | None) -> Tensor | None:
        real, fake = self.class_weights
        if real == fake == 1:
            return weights
        by_class = real + labels * (fake - real)
        return by_class if weights is None else by_class * weights


@dataclass(frozen=True, slots=True)
class TrainingLoop:
    """Runs a recipe over ``size`` examples.

    ``validate`` gives the validation loss and the AUC, for the log and for early stopping. ``report`` is called with
    the number of each step after which the fit was looked at, and with what was found.
    """

    recipe: Recipe
    size: int
    snapshot: Snapshot
    stopping: Callable[[], bool] = lambda: False
    validate: Callable[[], tuple[float, float]] | None = None
    report: Callable[[int, dict[str, float]], None] = lambda _step, _found: None
    shown: bool = True

    def run(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_of: Callable[[Tensor, int], Tensor],
        device: torch.device,
    ) -> Progress:
        """Train ``module``; returns its progress. ``loss_of(rows, step)`` gives a batch's loss.

        It leaves a snapshot, from which a run with more steps goes on. Raises `CheckpointError` when the snapshot is of
        another run, and `Stopped`, after saving, when asked to stop.
        """
        progress = Progress(torch.zeros(self.recipe.steps, device=device))
        self.snapshot.restore(module, optimizer, progress)
        saved = progress.step
        if saved < self.recipe.steps:  # a look at the end of a shorter run
            progress.looks = [look for look in progress.looks if look.step % STEPS_PER_SNAPSHOT == 0]
        with progress_bar(self.recipe.steps, "fit", "step", shown=self.shown, start=progress.step) as bar:
            while progress.step < self.recipe.steps and not self._patience_is_over(progress):
                self._step(module, optimizer, loss_of, progress)
                bar.update()
        if progress.step > saved and progress.step % STEPS_PER_SNAPSHOT:
            self._look(module, optimizer, progress)
        if progress.best:
            snapshot.restore_weights(module, progress.best)
        return progress

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
        began = time.perf_counter()
        torch.manual_seed(dropout_seed(self.recipe.seed, progress.step))
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(batch_rows(progress.step, self.size, self.recipe), progress.step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress.losses[progress.step] = loss.detach()
        progress.step += 1
        progress.seconds += time.perf_counter() - began
        if progress.step % STEPS_PER_SNAPSHOT == 0:
            self._look(module, optimizer, progress)

    def _look(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Measure the validation loss, report, and save."""
        found = {"loss": float(progress.losses[max(0, progress.step - STEPS_PER_SNAPSHOT) : progress.step].mean())}
        if self.validate is not None:
            loss, auc = self.validate()
            found |= {"validation_loss": loss, "validation_auc": auc}
            progress.looks.append(Look(progress.step, loss, auc))
            if progress.step % STEPS_PER_SNAPSHOT == 0:  # where a longer run looks, too
                self._remember_best(module, loss, progress)
        self.report(progress.step, found)
        self.snapshot.save(module, optimizer, progress)

    def _remember_best(self, module: nn.Module, loss: float, progress: Progress) -> None:
        if self.recipe.patience and loss < progress.best_loss:
            progress.best_loss, progress.best_step = loss, progress.step
            progress.best = snapshot.copy_weights(module)

    def _patience_is_over(self, progress: Progress) -> bool:
        waited = (progress.step - progress.best_step) // STEPS_PER_SNAPSHOT
        return self.validate is not None and self.recipe.patience > 0 and waited >= self.recipe.patience


def dropout_seed(seed: int, step: int) -> int:
    """The seed of a step's dropout masks: no two seeds and steps share one, as the sums of both would."""
    return int.from_bytes(hashlib.sha256(f"dropout {seed} {step}".encode()).digest()[:8]) >> 1


def batch_rows(step: int, size: int, recipe: Recipe) -> Tensor:
    """(batch,) row numbers of a step: a stream of seeded shuffles, one an epoch, cut into batches across their ends."""
    start, end = step * recipe.batch, (step + 1) * recipe.batch
    parts = []
    for epoch in range(start // size, (end - 1) // size + 1):
        order = _shuffled(epoch, size, recipe.seed)
        parts.append(order[max(0, start - epoch * size) : end - epoch * size])
    return torch.cat(parts)


@lru_cache(maxsize=2)  # a batch lies in one epoch, or across the border of two
def _shuffled(epoch: int, size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * _STREAM + epoch) % 2**63)
    return torch.randperm(size, generator=generator)
