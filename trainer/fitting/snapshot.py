"""Snapshots, from which a killed fit resumes: weights, optimiser and losses in one safetensors file.

It is written atomically. Batches and dropout follow from the seed and the step's number, so there is no other state.
The snapshot of a finished fit stays, so that a fit with more steps can go on from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.errors import CheckpointError
from trainer.files import atomic_write


@dataclass(frozen=True, slots=True)
class Look:
    """The validation loss and the AUC after a step."""

    step: int
    loss: float
    auc: float


@dataclass(slots=True)
class Progress:
    """The progress of a fit: each step's loss and, with early stopping, the best weights by validation loss.

    ``losses`` has a place for each step of the recipe; ``seconds`` is what the steps took, those of earlier processes
    included.
    """

    losses: Tensor
    step: int = 0
    seconds: float = 0.0
    looks: list[Look] = field(default_factory=list)
    best_loss: float = float("inf")
    best_step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The file at ``path`` of the run with the digest ``run``; of N ranks that fit alike, one ``writes``.

    ``settings`` are what the run was told, by which a refusal says what differs.
    """

    path: Path
    run: str
    writes: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write all that the next step depends on, atomically."""
        if not self.writes:
            return
        tensors: dict[str, Tensor] = {f"module.{name}": value for name, value in _trained(module).items()}
        tensors |= {f"best.{name}": value for name, value in progress.best.items()}
        tensors |= {f"optimizer.{name}": value for name, value in _state(optimizer).items()}
        tensors["losses"] = progress.losses[: progress.step]
        metadata = {
            "run": self.run,
            "settings": json.dumps(dict(self.settings)),
            "step": str(progress.step),
            "seconds": repr(progress.seconds),
            "looks": json.dumps([[look.step, look.loss, look.auc] for look in progress.looks]),
            "best_loss": repr(progress.best_loss),
            "best_step": str(progress.best_step),
        }
        with atomic_write(self.path) as part:
            save_file({name: value.detach().contiguous() for name, value in tensors.items()}, part, metadata)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Restore the saved state in place; does nothing when there is no file.

        Raises `CheckpointError` when the file is of another run, with other settings or pictures, has more steps than
        this run is to have, or cannot be read.
        """
        if not self.path.exists():
            return
        tensors, metadata = self._read(str(progress.losses.device))
        done = int(metadata["step"])
        if done > len(progress.losses):
            raise CheckpointError(
                f"{self.path} has {done} steps, more than --steps {len(progress.losses)}: choose another --out"
            )
        with torch.no_grad():
            for name, parameter in _trained(module).items():
                parameter.copy_(tensors[f"module.{name}"])
            for name, state in _state(optimizer).items():
                state.copy_(tensors[f"optimizer.{name}"])
            progress.losses[:done] = tensors["losses"]
        progress.step, progress.seconds = done, float(metadata["seconds"])
        progress.looks = [Look(int(step), loss, auc) for step, loss, auc in json.loads(metadata["looks"])]
        progress.best_loss, progress.best_step = float(metadata["best_loss"]), int(metadata["best_step"])
        progress.best = {name[5:]: value for name, value in tensors.items() if name.startswith("best.")}

    def _read(self, device: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            with safe_open(self.path, framework="pt", device=device) as file:
                metadata = file.metadata() or {}
                if metadata.get("run") != self.run:
                    raise CheckpointError(
                        another_run(self.path, json.loads(metadata.get("settings", "{}")), self.settings)
                    )
                return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}") from error


def another_run(path: Path, old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The refusal to touch a run's file: what differs, as ``name old -> new``."""
    told = [f"{name} {old[name]} -> {new[name]}" for name in new if name in old and old[name] != new[name]]
    what = f" ({'; '.join(told)})" if told else ""
    return f"{path} is of a run with other settings or pictures{what}: choose another --out"


def copy_weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters that train."""
    return {name: value.detach().clone() for name, value in _trained(module).items()}


def restore_weights(module: nn.Module, saved: dict[str, Tensor]) -> None:
    """Set the parameters that train to those that `copy_weights` copied."""
    with torch.no_grad():
        for name, value in _trained(module).items():
            value.copy_(saved[name])


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def _state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors, named by the number of their parameter and their own name."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        f"{number}.{name}": value
        for number, parameter in enumerate(parameters)
        for name, value in optimizer.state[parameter].items()
    }
