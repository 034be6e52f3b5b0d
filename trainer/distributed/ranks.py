"""The ranks of a run: the N processes that ``torchrun`` starts; without it there is one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public, says the documentation

from trainer.distributed.heartbeat import Heartbeat
from trainer.distributed.process import Stopped, cores
from trainer.errors import TrainerError

#: The timeout of a collective operation. All ranks reach it at about the same time, because they meet before it; the
#: heartbeat finds a lost rank sooner.
TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's rank among ``size``, and the device that it uses alone."""

    rank: int
    size: int
    device: torch.device
    stopping: Callable[[], bool] = field(default=lambda: False, compare=False)
    heartbeat: Heartbeat | None = field(default=None, compare=False)

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    @property
    def cpus(self) -> int:
        """How many of this machine's cores this rank may use."""
        return cores()

    def share(self, count: int) -> range:
        """The positions among ``count`` items that are this rank's: each belongs to exactly one rank."""
        return range(self.rank, count, self.size)

    def meet(self) -> None:
        """Wait until every rank has arrived here; raises `Stopped` when asked to stop first."""
        if self.heartbeat and not self.heartbeat.meet(self.stopping):
            raise Stopped


@contextmanager
def join_ranks(device: str = "auto", stopping: Callable[[], bool] = lambda: False) -> Iterator[Ranks]:
    """Join the run that torchrun started for the duration of the block; without torchrun this is the only rank.

    A rank that leaves with an exception, or is lost, ends the others within a minute. Raises a `TrainerError` naming a
    device that is not available.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = device_of(device)
    if size == 1:
        yield Ranks(rank, size, chosen, stopping)
        return
    heartbeat = _join(chosen, rank, size)
    try:
        yield Ranks(rank, size, chosen, stopping, heartbeat)
        heartbeat.meet(stopping)  # no rank leaves before all have finished
    finally:
        heartbeat.stop()
        dist.destroy_process_group()


def _join(device: torch.device, rank: int, size: int) -> Heartbeat:
    """Start the process group, with NCCL on CUDA and gloo on the CPU, and the heartbeat."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # otherwise rank 0 creates one
    store = _meeting_place("group") if kept else None
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=size)
    return Heartbeat(_meeting_place("unmask"), rank, size)


def _meeting_place(what: str) -> PrefixStore:
    """A store that is empty at each attempt: torchrun keeps one for all, with the addresses of dead ranks."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"{what}/{attempt}", TCPStore(host, port, is_master=False, timeout=TIMEOUT))


def device_of(name: str) -> torch.device:
    """The device of this name, once it has proved usable; "auto" is this rank's GPU, or the CPU where there is none.

    Raises a `TrainerError` naming a device that is not available.
    """
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError) as error:  # torch without CUDA asserts
        raise TrainerError(f"device {name!r} is not available: {str(error).splitlines()[0]}") from error
