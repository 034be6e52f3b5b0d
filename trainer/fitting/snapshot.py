"""A fit that can go on where it was killed: weights, optimiser and losses in one safetensors file, written atomically.

Batches and dropout follow from the seed and the step's number, so there is no other state.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.errors import CheckpointError


@dataclass(slots=True)
class Progress:
    """How far a fit has come: each step's loss, and the best weights by validation loss where somebody watches it."""

    losses: Tensor
    step: int = 0
    best_loss: float = float("inf")
    best_step: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The file at ``path``, of the run known by the digest ``run``; of N ranks that fit alike one ``writes``."""

    path: Path
    run: str
    writes: bool = True

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write all that the next step depends on."""
        if not self.writes:
            return
        tensors: dict[str, Tensor] = {f"module.{name}": value for name, value in _trained(module).items()}
        tensors |= {f"best.{name}": value for name, value in progress.best.items()}
        tensors |= {f"optimizer.{name}": value for name, value in _state(optimizer).items()}
        tensors["losses"] = progress.losses
        metadata = {
            "run": self.run,
            "step": str(progress.step),
            "best_loss": repr(progress.best_loss),
            "best_step": str(progress.best_step),
        }
        part = self.path.with_name(f".{self.path.name}.part")
        save_file({name: value.detach().contiguous() for name, value in tensors.items()}, part, metadata)
        part.replace(self.path)

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Take up what was saved, in place; nothing when there is nothing.

        Raises `CheckpointError` when the file belongs to another run: its settings or pictures were different.
        """
        if not self.path.exists():
            return
        tensors, metadata = self._read(str(progress.losses.device))
        with torch.no_grad():
            for name, parameter in _trained(module).items():
                parameter.copy_(tensors[f"module.{name}"])
            for name, state in _state(optimizer).items():
                state.copy_(tensors[f"optimizer.{name}"])
            progress.losses.copy_(tensors["losses"])
        progress.step = int(metadata["step"])
        progress.best_loss, progress.best_step = float(metadata["best_loss"]), int(metadata["best_step"])
        progress.best = {name[5:]: value for name, value in tensors.items() if name.startswith("best.")}

    def _read(self, device: str) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            with safe_open(self.path, framework="pt", device=device) as file:
                metadata = file.metadata() or {}
                if metadata.get("run") != self.run:
                    raise CheckpointError(f"{self.path} is of another run: choose another --out")
                return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 - not a mapping
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}") from error


def weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of what the fit changes."""
    return {name: value.detach().clone() for name, value in _trained(module).items()}


def put_back(module: nn.Module, saved: dict[str, Tensor]) -> None:
    """The opposite of `weights`."""
    with torch.no_grad():
        for name, value in _trained(module).items():
            value.copy_(saved[name])


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def _state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors, by the number of their parameter and their name."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        f"{number}.{name}": value
        for number, parameter in enumerate(parameters)
        for name, value in optimizer.state[parameter].items()
    }
