"""Heartbeats between ranks: a rank that is lost ends the run within a minute, instead of hanging it.

The timeout of collectives cannot do that. They wait for a rank that was stopped, or whose machine is gone, until they
time out; and the timeout must exceed the longest work that one rank does while the others wait.
"""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import click
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]  # public, says the documentation

#: The interval between a rank's heartbeats, and the time without one after which it counts as lost. torchrun takes half
#: a minute more to end a rank that does not answer.
BEAT_S = 2.0
LOST_S = 25.0
#: How often a waiting rank checks whether the others have arrived.
_LOOK_S = 0.02


class Heartbeat:
    """Sends this rank's heartbeat and watches those of the others.

    ``store`` must be a connection of its own: requests on a shared connection wait for each other.
    """

    def __init__(self, store: Store, rank: int, size: int) -> None:
        store.set_timeout(timedelta(seconds=LOST_S))
        self._store, self._rank, self._size = store, rank, size
        self._meetings = 0
        self._over = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)
        self._thread.start()

    def meet(self, stopping: Callable[[], bool]) -> bool:
        """Wait until every rank has arrived here, without a timeout; False when asked to stop first."""
        self._meetings += 1
        name = f"meeting/{self._meetings}"
        here = self._store.add(name, 1)
        while here < self._size:
            if stopping():
                return False
            time.sleep(_LOOK_S)
            here = self._store.add(name, 0)
        return True

    def stop(self) -> None:
        """End the heartbeat: the other ranks count this one as lost, unless they have stopped too."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: dict[int, tuple[int, float]] = {}
        while not self._over.wait(BEAT_S):
            fault = self._fault(seen)
            if fault and not self._over.is_set():
                _end(fault)

    def _fault(self, seen: dict[int, tuple[int, float]]) -> str | None:
        try:
            self._beat()
            lost = self._lost(seen)
        except dist.DistError as error:
            return f"the store of the ranks is lost: {' '.join(str(error).split())[:200]}"
        return None if lost is None else f"rank {lost} of {self._size} has sent no heartbeat for {LOST_S:g} s"

    def _beat(self) -> None:
        self._store.add(f"beat/{self._rank}", 1)

    def _lost(self, seen: dict[int, tuple[int, float]]) -> int | None:
        """The first rank that is lost. ``seen`` holds each rank's last heartbeat, and when it was new."""
        for rank in range(self._size):
            beat, now = self._store.add(f"beat/{rank}", 0), time.monotonic()
            if rank not in seen or seen[rank][0] != beat:
                seen[rank] = beat, now
            elif now - seen[rank][1] > LOST_S:
                return rank
        return None


def _end(why: str) -> None:
    """End the process at once: its main thread may wait for a lost rank where no exception can reach it."""
    click.echo(f"\nError: {why}; run the same command again to continue from what is saved", err=True)
    os._exit(1)
