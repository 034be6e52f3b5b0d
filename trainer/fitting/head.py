"""Fit the head on cached embeddings, by the paper's recipe: AdaGrad, batch 32, learning rate 1e-4, 10,000 steps.

Not stated there, so decided here and recorded in the card: the loss is binary cross-entropy on the logit, batches are
drawn from a seeded shuffle of each epoch, and 32 is the whole batch.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from trainer.fitting.cache import Embeddings
from trainer.fitting.loop import Loop, Recipe
from trainer.judging.metrics import Scores
from trainer.detector.model import Detector, Head, Scaling
from trainer.fitting.snapshot import Snapshot

#: Rows that are in memory at once.
PART = 4096


@dataclass(frozen=True, slots=True)
class Labelled:
    """(N, D) embeddings, memory-mapped, and their (N,) labels: 1 for fake, on the device that is to do the work."""

    embeddings: Embeddings
    labels: Tensor


def fit_head(
    data: Labelled,
    recipe: Recipe,
    snapshot: Snapshot,
    stopping: Callable[[], bool] = lambda: False,
    validation: Labelled | None = None,
) -> tuple[Head, Tensor]:
    """A fitted head, and each step's loss.

    Goes on from its snapshot when it is of the same run. Raises `Stopped`, after saving, when asked.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # torchrun asks for one, but only the first rank fits
    device = data.labels.device
    head = Head(data.embeddings.shape[1])
    if recipe.scale:
        set_scaling(head.scaling, data.embeddings)
    head.to(device).train()
    rows = _rows(data.embeddings, device)

    def loss_of(chosen: Tensor, _step: int) -> Tensor:
        logits = head(rows[chosen.to(rows.device)].to(device)).squeeze(1)
        return binary_cross_entropy_with_logits(logits, recipe.targets(data.labels[chosen.to(device)]))

    optimizer = torch.optim.Adagrad(head.parameters(), lr=recipe.learning_rate, fused=True)
    loop = Loop(recipe, len(data.labels), snapshot, stopping)
    if validation is not None and recipe.patience:
        loop = replace(loop, validate=lambda: _loss(head, validation))
    losses = loop.run(head, optimizer, loss_of, device)
    return head.eval(), losses


def _rows(embeddings: Embeddings, device: torch.device) -> Tensor:
    """All rows on a CUDA device, if half of its free memory holds them; else where they are, read a batch at a time."""
    rows = torch.from_numpy(embeddings)
    if device.type == "cuda" and embeddings.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        return rows.to(device)
    return rows


def _loss(head: Head, data: Labelled) -> float:
    """Loss over all of ``data``, without dropout."""
    head.eval()
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(data.embeddings), PART):
            labels = data.labels[start : start + PART]
            logits = head(torch.from_numpy(data.embeddings[start : start + PART]).to(labels.device)).squeeze(1)
            total += float(binary_cross_entropy_with_logits(logits, labels, reduction="sum"))
    head.train()
    return total / len(data.labels)


def set_scaling(scaling: Scaling, embeddings: Embeddings) -> None:
    """Standardise by the mean and standard deviation of these embeddings, summed in 64 bits, a part at a time."""
    total, squares = np.zeros(embeddings.shape[1]), np.zeros(embeddings.shape[1])
    for start in range(0, len(embeddings), PART):
        part = embeddings[start : start + PART].astype(np.float64)
        total += part.sum(axis=0)
        squares += (part**2).sum(axis=0)
    mean = total / len(embeddings)
    std = np.sqrt(np.maximum(squares / len(embeddings) - mean**2, 0)) + 1e-6
    scaling.mean.copy_(torch.from_numpy(mean))
    scaling.std.copy_(torch.from_numpy(std))


def score_embeddings(detector: Detector, embeddings: Embeddings) -> Scores:
    """(N,) scores of (N, D) embeddings."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(embeddings), PART):
            rows = torch.from_numpy(embeddings[start : start + PART]).to(detector.mean.device)
            parts.append(torch.sigmoid(detector.head(rows).squeeze(1)).double().cpu())
    return np.asarray(torch.cat(parts))
