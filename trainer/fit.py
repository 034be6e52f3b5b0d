"""Fit the head on embeddings, by the paper's recipe: AdaGrad, batch 32, learning rate 1e-4, at most 10,000 steps.

Not stated there, so decided here and recorded in the card: the loss is binary cross-entropy on the logit, batches are
drawn from a seeded shuffle of each epoch, and 32 is the whole batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.model import Head


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the fit may be told; the defaults are the paper's."""

    steps: int = 10_000
    batch: int = 32
    learning_rate: float = 1e-4
    seed: int = 0


def fit_head(
    embeddings: Tensor,
    labels: Tensor,
    recipe: Recipe,
    on_step: Callable[[int, Tensor], object] | None = None,
) -> tuple[Head, float]:
    """A head fitted to (N, D) embeddings and (N,) labels (1 for fake), and its mean loss over the last 100 steps.

    ``on_step`` hears each step's number, from 1, and loss.
    """
    torch.manual_seed(recipe.seed)
    head = Head(embeddings.shape[1]).to(embeddings.device).train()
    optimizer = torch.optim.Adagrad(head.parameters(), lr=recipe.learning_rate, fused=True)
    loss_of = nn.BCEWithLogitsLoss()
    losses = torch.zeros(recipe.steps, device=embeddings.device)
    for step, chosen in enumerate(_batches(len(labels), recipe), 1):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(head(embeddings[chosen]).squeeze(1), labels[chosen])
        loss.backward()
        optimizer.step()
        losses[step - 1] = loss.detach()
        if on_step is not None:
            on_step(step, losses[step - 1])
    return head.eval(), float(losses[-100:].mean())


def _batches(size: int, recipe: Recipe) -> Iterator[Tensor]:
    """Row numbers of each step's batch: epoch after epoch of seeded shuffles, cut without regard to their ends."""
    generator = torch.Generator().manual_seed(recipe.seed)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(size, generator=generator)])
        yield order[: recipe.batch]
        order = order[recipe.batch :]
