"""The queue in front of password hashing: argon2id needs 64 MiB for each hash, and the console has 512 MB."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from db.errors import BusyError

#: Maximum sign-ins that wait, in all and from one address: one address alone cannot fill the queue.
WAITING, WAITING_PER_ADDRESS = 20, 5


class HashingQueue:
    """Admits sign-ins up to a limit. An admitted sign-in waits for its hash; others are refused at once."""

    def __init__(self, waiting: int = WAITING, per_address: int = WAITING_PER_ADDRESS) -> None:
        self._waiting, self._per_address = waiting, per_address
        self._lock = threading.Lock()
        self._admitted: Counter[str] = Counter()

    @contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Hold a place within the block; raises `BusyError` when all places, or those of this address, are taken."""
        self._enter(address)
        try:
            yield
        finally:
            self._leave(address)

    def _enter(self, address: str) -> None:
        with self._lock:
            if self._admitted.total() >= self._waiting or self._admitted[address] >= self._per_address:
                raise BusyError("too many people are signing in at this moment: try again in a few seconds")
            self._admitted[address] += 1

    def _leave(self, address: str) -> None:
        with self._lock:
            self._admitted[address] -= 1
            if not self._admitted[address]:
                del self._admitted[address]


#: The queue of this process: it limits this process's memory.
SIGN_INS = HashingQueue()
