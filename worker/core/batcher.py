"""Micro-batching: many threads submit items, and another processes those that arrive together as one batch.

A worker has three batchers: for leases, for scores and for records.
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
    """Calls ``run`` with batches of the submitted items; ``run`` returns one result per item, in order.

    A batch runs when it is full, when nobody announces another item (see `expecting_more`), or when its first item has
    waited ``max_wait_s``; what arrives while it runs forms the next batch. When ``run`` fails on a batch, its items are
    tried one by one, so that a bad item fails alone. With two ``threads``, one batch is prepared while another runs.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[list[Item]], Sequence[Result]],
        max_batch: int,
        max_wait_s: float = 0.0,
        threads: int = 1,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._waiting: deque[tuple[Item, Future[Result], float]] = deque()
        self._expected = 0
        self._closed = False
        self._changed = threading.Condition()
        self._name = name
        self._threads = [threading.Thread(target=self._loop, name=name, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, item: Item) -> Future[Result]:
        """Submit one item; the future gets its result or error. Raises RuntimeError after `close`."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError(f"batcher {self._name} is closed")
            self._waiting.append((item, future, time.monotonic()))
            if len(self._waiting) == 1 or self._ready():  # else the thread would wake only to wait again
                self._changed.notify_all()
        return future

    @contextmanager
    def expecting_more(self) -> Iterator[None]:
        """Announce that an item may follow: while any thread is within, a batch waits for it, up to ``max_wait_s``."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def close(self) -> None:
        """Finish all submitted items, then stop the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _count(self, change: int) -> None:
        with self._changed:
            self._expected += change
            if self._expected == 0:
                self._changed.notify_all()

    def _loop(self) -> None:
        while batch := self._next():
            wanted = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if wanted:
                _settle(self._run, [item for item, _ in wanted], [future for _, future in wanted])

    def _next(self) -> list[tuple[Item, Future[Result]]]:
        """The next batch; empty once closed and drained."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return []
                deadline = self._waiting[0][2] + self._max_wait_s
                self._changed.wait_for(self._ready, max(0.0, deadline - time.monotonic()))
                if self._waiting:  # else another thread took them
                    size = min(len(self._waiting), self._max_batch)
                    return [self._waiting.popleft()[:2] for _ in range(size)]

    def _ready(self) -> bool:
        return self._closed or self._expected == 0 or len(self._waiting) >= self._max_batch


def _settle(
    run: Callable[[list[Item]], Sequence[Result]], items: list[Item], futures: Sequence[Future[Result]]
) -> None:
    """Give each future its result, or its own error."""
    try:
        results = list(zip(futures, run(items), strict=True))
    except Exception as error:  # noqa: BLE001 - it is raised again where the future is awaited
        if len(items) == 1:
            futures[0].set_exception(error)
            return
        for item, future in zip(items, futures, strict=True):
            _settle(run, [item], [future])
    else:
        for future, result in results:
            future.set_result(result)
