"""Many threads in, one batch out: things that arrive together are done together, by one thread.

Workers use it three times: to take images in hand, to score them and to record them, each a batch at a time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Calls ``run`` with batches of what is submitted; ``run`` returns one result an item, in order.

    A batch goes when it is full, when nothing else is on its way (see `coming`), or when its first item has waited
    ``max_wait_s``; whatever arrives while a batch runs is the next. When ``run`` fails on a batch its items are tried
    one by one, so that a bad one fails alone.
    """

    def __init__(
        self, name: str, run: Callable[[list[Item]], Sequence[Result]], max_batch: int, max_wait_s: float = 0.0
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._waiting: deque[tuple[Item, Future[Result], float]] = deque()
        self._coming = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Future[Result]:
        """Hand in one item; its result or error comes in the future."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError(f"batcher {self._thread.name} is closed")
            self._waiting.append((item, future, time.monotonic()))
            if len(self._waiting) == 1 or self._ready():  # else it would wake only to sleep on
                self._changed.notify()
        return future

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Says that an item is on its way: a batch waits for it, within ``max_wait_s``."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _count(self, change: int) -> None:
        with self._changed:
            self._coming += change
            if self._coming == 0:
                self._changed.notify()

    def _loop(self) -> None:
        while batch := self._next():
            wanted = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if wanted:
                _settle(self._run, [item for item, _ in wanted], [future for _, future in wanted])

    def _next(self) -> list[tuple[Item, Future[Result]]]:
        """The next batch; empty when closed and done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._waiting:
                deadline = self._waiting[0][2] + self._max_wait_s
                self._changed.wait_for(self._ready, max(0.0, deadline - time.monotonic()))
            size = min(len(self._waiting), self._max_batch)
            return [self._waiting.popleft()[:2] for _ in range(size)]

    def _ready(self) -> bool:
        return self._closed or self._coming == 0 or len(self._waiting) >= self._max_batch


def _settle(
    run: Callable[[list[Item]], Sequence[Result]], items: list[Item], futures: Sequence[Future[Result]]
) -> None:
    """Give every future its result, or its own error."""
    try:
        results = list(zip(futures, run(items), strict=True))
    except Exception as error:  # noqa: BLE001 - whoever waits for the future must hear of it
        if len(items) == 1:
            futures[0].set_exception(error)
            return
        for item, future in zip(items, futures, strict=True):
            _settle(run, [item], [future])
    else:
        for future, result in results:
            future.set_result(result)
