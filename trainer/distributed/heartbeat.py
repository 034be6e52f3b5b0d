"""A sign of life that ranks give each other: one that is lost ends the run within a minute, and never hangs it.

Collectives cannot do that. They wait for a rank that was stopped, or whose machine is gone, until they time out; and
the time-out would have to be as long as the longest work that one rank does while the others wait.
"""

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import click
import torch.distributed as dist
from torch.distributed import Store  # type: ignore[attr-defined]  # public, says the documentation

#: How often a rank gives a sign of life, and after how long without one it is taken for lost. torchrun takes half a
#: minute more to end a rank that does not answer.
BEAT_S = 2.0
LOST_S = 25.0
#: How often a waiting rank looks whether the others have come.
_LOOK_S = 0.02


class Heartbeat:
    """This rank's sign of life, and its eye on those of the others.

    ``store`` is a connection of its own, as what else goes through a connection would wait for its turn.
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
        """Wait until every rank has come here, however long that takes; False when asked to stop instead."""
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
        """No more signs of life; the others take this rank for lost, unless they have stopped as well."""
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
            return f"the place where ranks meet is lost: {' '.join(str(error).split())[:200]}"
        return None if lost is None else f"rank {lost} of {self._size} has given no sign of life for {LOST_S:g} s"

    def _beat(self) -> None:
        self._store.add(f"beat/{self._rank}", 1)

    def _lost(self, seen: dict[int, tuple[int, float]]) -> int | None:
        """The first rank that is lost. ``seen`` is each one's last sign of life, and when that was new."""
        for rank in range(self._size):
            beat, now = self._store.add(f"beat/{rank}", 0), time.monotonic()
            if rank not in seen or seen[rank][0] != beat:
                seen[rank] = beat, now
            elif now - seen[rank][1] > LOST_S:
                return rank
        return None


def _end(why: str) -> None:
    """End the process as it stands: its main thread may wait for a lost rank where no exception can reach it."""
    click.echo(f"\nError: {why}; the same command goes on from what is saved", err=True)
    os._exit(1)
