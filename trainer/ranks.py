"""The processes of one run: ``torchrun`` starts N of them, each with a rank; without it there is one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

#: A rank that is lost ends the run within this time, instead of hanging it.
TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process's place among ``size``, and the device that is its own."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    @property
    def cpus(self) -> int:
        """How many of this machine's cores are this rank's."""
        cores = len(os.sched_getaffinity(0))
        return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    def share(self, count: int) -> range:
        """Which of ``count`` items are this rank's: every one is exactly one rank's."""
        return range(self.rank, count, self.size)

    def meet(self) -> None:
        """Wait until every rank has come here."""
        if self.size > 1:
            dist.barrier()


def join(device: str = "auto") -> Ranks:
    """Join the run that torchrun started (NCCL on CUDA, gloo on the CPU), or be the only rank."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device)
    if size > 1 and not dist.is_initialized():
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=TIMEOUT)
    return Ranks(rank, size, chosen)


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """This process's place in the run, for the block's time."""
    place = join(device)
    try:
        yield place
    finally:
        leave()


def leave() -> None:
    """Leave the run in good order."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    if name == "auto" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu" if name == "auto" else name)
