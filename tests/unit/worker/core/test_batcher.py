"""Many threads in, one batch out: nothing waits for what does not come, and nothing is lost."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from worker.core.batcher import Batcher

#: Nothing here takes longer, unless it never ends.
PATIENCE_S = 10
#: A wait that no test survives.
FOR_EVER_S = 3600.0


class Doubler:
    """Doubles numbers and remembers its batches; a negative number fails, and a closed gate holds it up."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        self.started.set()
        assert self.gate.wait(PATIENCE_S)
        if any(number < 0 for number in numbers):
            raise ValueError(f"{min(numbers)} is negative")
        return [number * 2 for number in numbers]


Make = Callable[..., Batcher[int, int]]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


@pytest.fixture
def make(doubler: Doubler) -> Iterator[Make]:
    """Makes batchers, and closes them at the end."""
    made: list[Batcher[int, int]] = []

    def batcher(max_batch: int = 8, max_wait_s: float = FOR_EVER_S) -> Batcher[int, int]:
        made.append(Batcher("doubler", doubler, max_batch, max_wait_s))
        return made[-1]

    yield batcher
    doubler.gate.set()
    for each in made:
        each.close()


def held_up(batcher: Batcher[int, int], doubler: Doubler) -> Future[int]:
    """Something that the batcher is busy with, until the gate opens."""
    doubler.gate.clear()
    first = batcher.submit(0)
    assert doubler.started.wait(PATIENCE_S)
    return first


def results(futures: list[Future[int]]) -> list[int]:
    return [future.result(PATIENCE_S) for future in futures]


def test_a_lone_item_goes_at_once_when_nothing_is_coming(make: Make, doubler: Doubler) -> None:
    assert make().submit(1).result(PATIENCE_S) == 2
    assert doubler.batches == [[1]]


def test_a_batch_waits_for_what_is_coming(make: Make, doubler: Doubler) -> None:
    batcher = make()
    with batcher.expecting_more():
        first = batcher.submit(1)
        assert not doubler.started.wait(0.2)
        second = batcher.submit(2)
    assert results([first, second]) == [2, 4]
    assert doubler.batches == [[1, 2]]


def test_a_batch_waits_for_all_that_is_coming(make: Make, doubler: Doubler) -> None:
    batcher = make()
    with batcher.expecting_more():
        with batcher.expecting_more():
            first = batcher.submit(1)
        assert not doubler.started.wait(0.2)
    assert first.result(PATIENCE_S) == 2


def test_a_batch_does_not_wait_longer_than_it_may(make: Make, doubler: Doubler) -> None:
    batcher = make(max_wait_s=0.05)
    with batcher.expecting_more():
        assert batcher.submit(1).result(PATIENCE_S) == 2
    assert doubler.batches == [[1]]


def test_without_a_wait_nothing_is_waited_for(make: Make) -> None:
    batcher = make(max_wait_s=0.0)
    with batcher.expecting_more():
        assert batcher.submit(1).result(PATIENCE_S) == 2


def test_what_was_coming_and_failed_is_not_waited_for(make: Make) -> None:
    batcher = make()
    with pytest.raises(OSError, match="no photo"), batcher.expecting_more():
        raise OSError("no photo")
    assert batcher.submit(1).result(PATIENCE_S) == 2


def test_a_full_batch_goes_at_once_whatever_is_coming(make: Make, doubler: Doubler) -> None:
    batcher = make(max_batch=3)
    with batcher.expecting_more():
        assert results([batcher.submit(number) for number in range(3)]) == [0, 2, 4]
    assert doubler.batches == [[0, 1, 2]]


def test_what_arrives_while_a_batch_runs_is_the_next_one_and_no_batch_is_too_large(
    make: Make, doubler: Doubler
) -> None:
    batcher = make(max_batch=8)
    first = held_up(batcher, doubler)
    futures = [batcher.submit(number) for number in range(1, 21)]
    doubler.gate.set()
    assert results([first, *futures]) == [number * 2 for number in range(21)]
    assert doubler.batches == [[0], [*range(1, 9)], [*range(9, 17)], [*range(17, 21)]]


def test_a_bad_item_fails_alone_and_its_batch_is_done(make: Make, doubler: Doubler) -> None:
    batcher = make()
    first = held_up(batcher, doubler)
    futures = [batcher.submit(number) for number in (1, -2, 3, -4)]
    doubler.gate.set()
    assert results([first, futures[0], futures[2]]) == [0, 2, 6]
    for future, number in ((futures[1], -2), (futures[3], -4)):
        with pytest.raises(ValueError, match=f"^{number} is negative"):
            future.result(PATIENCE_S)
    assert doubler.batches == [[0], [1, -2, 3, -4], [1], [-2], [3], [-4]]


def test_a_batch_after_a_bad_one_is_as_good_as_any(make: Make) -> None:
    batcher = make()
    with pytest.raises(ValueError, match="negative"):
        batcher.submit(-1).result(PATIENCE_S)
    assert batcher.submit(1).result(PATIENCE_S) == 2


def test_a_run_that_returns_too_few_results_is_an_error_and_nobody_gets_anothers() -> None:
    def forgetful(numbers: list[int]) -> list[int]:
        return [] if len(numbers) == 1 else numbers[1:]

    batcher = Batcher("forgetful", forgetful, 8, FOR_EVER_S)
    with batcher.expecting_more():
        futures = [batcher.submit(number) for number in (1, 2)]
    for future in futures:
        with pytest.raises(ValueError, match="shorter"):
            future.result(PATIENCE_S)
    batcher.close()


def test_what_nobody_waits_for_any_more_is_not_done_and_harms_nobody(make: Make, doubler: Doubler) -> None:
    batcher = make()
    first = held_up(batcher, doubler)
    given_up, wanted = batcher.submit(1), batcher.submit(2)
    assert given_up.cancel()
    doubler.gate.set()
    assert results([first, wanted]) == [0, 4]
    assert doubler.batches == [[0], [2]]
    alone = held_up(batcher, doubler)
    assert batcher.submit(3).cancel()
    doubler.gate.set()
    assert results([alone, batcher.submit(4)]) == [0, 8]


def test_close_finishes_what_was_submitted(make: Make, doubler: Doubler) -> None:
    batcher = make(max_batch=3)
    first = held_up(batcher, doubler)
    futures = [batcher.submit(number) for number in range(1, 8)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    doubler.gate.set()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert [future.result(0) for future in (first, *futures)] == [number * 2 for number in range(8)]


def test_close_does_not_wait_for_what_is_coming(make: Make) -> None:
    batcher = make()
    with batcher.expecting_more():
        future = batcher.submit(1)
        batcher.close()
    assert future.result(0) == 2


def test_a_closed_batcher_takes_nothing_more_and_may_be_closed_again(make: Make) -> None:
    batcher = make()
    batcher.close()
    batcher.close()
    with pytest.raises(RuntimeError, match="batcher doubler is closed"):
        batcher.submit(1)


def test_many_threads_at_once_lose_nothing_and_mix_nothing_up(make: Make, doubler: Doubler) -> None:
    batcher = make(max_batch=16, max_wait_s=0.001)
    threads, each = 32, 50
    start = threading.Barrier(threads, timeout=PATIENCE_S)

    def work(number: int) -> bool:
        start.wait()
        for item in range(number * each, (number + 1) * each):
            with batcher.expecting_more():
                future = batcher.submit(item)
            if future.result(PATIENCE_S) != item * 2:
                return False
        return True

    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(work, range(threads)))
    done = [number for batch in doubler.batches for number in batch]
    assert sorted(done) == list(range(threads * each))
    assert max(len(batch) for batch in doubler.batches) <= 16
    assert len(doubler.batches) < len(done)
