"""Fit the head on cached embeddings, by the paper's recipe: AdaGrad, batch 32, learning rate 1e-4, 10,000 steps.

The paper leaves open what we decide here and record in the card: the loss is binary cross-entropy on the logit, batches
come from a seeded shuffle of each epoch, and 32 is the whole batch.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trainer.detector.model import Detector, Head, Scaling
from trainer.fitting.cache import Embeddings
from trainer.fitting.loop import Recipe, TrainingLoop
from trainer.fitting.snapshot import Progress, Snapshot
from trainer.judging.metrics import Scores, auc

#: The number of rows in memory at once.
PART = 4096


@dataclass(frozen=True, slots=True)
class LabelledEmbeddings:
    """(N, D) embeddings, memory-mapped, and their (N,) labels, 1 for fake, on the device that fits.

    ``weights`` are (N,), 1 on average; None where all pictures weigh the same.
    """

    embeddings: Embeddings
    labels: Tensor
    weights: Tensor | None = None


def fit_head(
    data: LabelledEmbeddings,
    recipe: Recipe,
    snapshot: Snapshot,
    stopping: Callable[[], bool] = lambda: False,
    validation: LabelledEmbeddings | None = None,
    report: Callable[[int, dict[str, float]], None] = lambda _step, _found: None,
) -> tuple[Head, Progress]:
    """Fit a head; returns it and the fit's progress, with each step's loss. It is looked at on ``validation``.

    It resumes from its snapshot. Raises `CheckpointError` when the snapshot is of another run, and `Stopped`, after
    saving, when asked to stop.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(len(os.sched_getaffinity(0)))  # torchrun sets 1, but only the first rank fits
    device = data.labels.device
    head = Head(data.embeddings.shape[1], recipe.widths, recipe.dropout)
    if recipe.scale:
        standardise(head.scaling, data.embeddings)
    head.to(device).train()
    rows = _rows(data.embeddings, device)

    def loss_of(chosen: Tensor, _step: int) -> Tensor:
        logits, here = head(rows[chosen.to(rows.device)].to(device)).squeeze(1), chosen.to(device)
        return recipe.loss(logits, data.labels[here], weights=data.weights[here] if data.weights is not None else None)

    optimizer = _optimizer(head, recipe)
    loop = TrainingLoop(recipe, len(data.labels), snapshot, stopping, report=report)
    if validation is not None:
        loop = replace(loop, validate=lambda: _validated(head, recipe, validation))
    progress = loop.run(head, optimizer, loss_of, device)
    return head.eval(), progress


def _optimizer(head: Head, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser, with all of its state, so that a snapshot can be restored into it."""
    if recipe.optimizer == "adagrad":
        return torch.optim.Adagrad(head.parameters(), lr=recipe.learning_rate, fused=True)
    adamw = torch.optim.AdamW(head.parameters(), lr=0.0, weight_decay=recipe.weight_decay, fused=True)
    for parameter in head.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adamw.step()  # changes no weight at a rate of 0, and allocates the moments
    adamw.param_groups[0]["lr"] = recipe.learning_rate
    return adamw


def _rows(embeddings: Embeddings, device: torch.device) -> Tensor:
    """All rows on a CUDA device if half of its free memory holds them; otherwise memory-mapped, read batch by batch."""
    rows = torch.from_numpy(embeddings)
    if device.type == "cuda" and embeddings.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        return rows.to(device)
    return rows


def _validated(head: Head, recipe: Recipe, data: LabelledEmbeddings) -> tuple[float, float]:
    """The mean loss over all of ``data``, by class weights but without dropout and smoothing, and the AUC."""
    head.eval()
    plain = replace(recipe, label_smoothing=0.0)
    total, parts = 0.0, []
    with torch.inference_mode():
        for start in range(0, len(data.embeddings), PART):
            labels = data.labels[start : start + PART]
            logits = head(torch.from_numpy(data.embeddings[start : start + PART]).to(labels.device)).squeeze(1)
            total += float(plain.loss(logits, labels, reduction="sum"))
            parts.append(logits.double().cpu())
    head.train()
    logits, fake = np.asarray(torch.cat(parts)), np.asarray(data.labels.cpu()) == 1
    return total / len(data.labels), auc(logits[~fake], logits[fake])


def standardise(scaling: Scaling, embeddings: Embeddings) -> None:
    """Set ``scaling`` to the mean and standard deviation of (N, D) embeddings, summed in 64 bits, part by part."""
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
    """(N,) scores, 0 to 1, of (N, D) embeddings."""
    return score_rows(detector.head, embeddings)


def score_rows(head: Head, embeddings: Embeddings) -> Scores:
    """(N,) scores, 0 to 1, that a head gives (N, D) embeddings."""
    parts, device = [], head.scaling.mean.device
    with torch.inference_mode():
        for start in range(0, len(embeddings), PART):
            rows = torch.from_numpy(embeddings[start : start + PART]).to(device)
            parts.append(torch.sigmoid(head(rows).squeeze(1)).double().cpu())
    return np.asarray(torch.cat(parts))
