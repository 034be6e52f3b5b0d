"""The processes of one run: ``torchrun`` starts N of them, each with a rank; without it there is one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public, says the documentation

from trainer.distributed.cores import cores
from trainer.errors import TrainerError
from trainer.distributed.heartbeat import Heartbeat
from trainer.distributed.stop import Stopped

#: What ranks wait for each other in a collective operation. All of them come to it at about the same time, since they
#: meet before it; a rank that is lost is found sooner, by its heartbeat.
TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among ``size``, and the device that is its own."""

    rank: int
    size: int
    device: torch.device
    stopping: Callable[[], bool] = field(default=lambda: False, compare=False)
    heartbeat: Heartbeat | None = field(default=None, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def cpus(self) -> int:
        """How many of this machine's cores are this rank's."""
        return cores()

    def share(self, count: int) -> range:
        """Which of ``count`` items are this rank's: every one is exactly one rank's."""
        return range(self.rank, count, self.size)

    def meet(self) -> None:
        """Wait until every rank has come here; raises `Stopped` when asked to stop before that."""
        if self.heartbeat and not self.heartbeat.meet(self.stopping):
            raise Stopped


@contextmanager
def joined(device: str = "auto", stopping: Callable[[], bool] = lambda: False) -> Iterator[Ranks]:
    """This process's place in the run that torchrun started, for the block's time; without torchrun the only one.

    A rank that leaves with an exception, or is lost, ends the others within a minute. Raises a `TrainerError` naming a
    device that is not to be had.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = device_of(device)
    if size == 1:
        yield Ranks(rank, size, chosen, stopping)
        return
    heartbeat = _join(chosen, rank, size)
    try:
        yield Ranks(rank, size, chosen, stopping, heartbeat)
        heartbeat.meet(stopping)  # nobody leaves before all have done
    finally:
        heartbeat.stop()
        dist.destroy_process_group()


def _join(device: torch.device, rank: int, size: int) -> Heartbeat:
    """NCCL on CUDA, gloo on the CPU."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    kept = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # else rank 0 makes one, of its own
    store = _meeting_place("group") if kept else None
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=rank, world_size=size)
    return Heartbeat(_meeting_place("unmask"), rank, size)


def _meeting_place(what: str) -> PrefixStore:
    """Where ranks find each other, empty at each attempt: torchrun keeps one store, addresses of the dead included."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"{what}/{attempt}", TCPStore(host, port, is_master=False, timeout=TIMEOUT))


def device_of(name: str) -> torch.device:
    """The device of this name, as it was tried; "auto" is this rank's GPU, or the CPU where there is none.

    Raises a `TrainerError` naming one that is not to be had.
    """
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError) as error:  # torch without CUDA asserts
        raise TrainerError(f"device {name!r} is not to be had: {str(error).splitlines()[0]}") from error
