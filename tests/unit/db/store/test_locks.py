"""One holds a lock at a time, as long as it beats; the next takes it from who is silent, and never both."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from db.store import locks
from db.store.session import Database

pytestmark = pytest.mark.both  # databases can differ here


def hold(database: Database, owner: str, hold_s: float = 60.0, name: str = "sweeper") -> bool:
    with database.writing() as session:
        return locks.acquire(session, name, owner, hold_s)


def test_a_lock_is_its_first_holders_until_it_is_silent(database: Database) -> None:
    assert hold(database, "one")
    assert not hold(database, "two")
    assert hold(database, "one", -1)
    assert hold(database, "two")
    assert not hold(database, "one")


def test_locks_have_nothing_to_do_with_each_other(database: Database) -> None:
    assert hold(database, "one")
    assert hold(database, "two", name="another")


def test_who_lets_go_leaves_the_lock_to_the_next_and_nobody_can_let_go_of_anothers(database: Database) -> None:
    hold(database, "one")
    with database.writing() as session:
        locks.release(session, "sweeper", "two")
    assert not hold(database, "two")
    with database.writing() as session:
        locks.release(session, "sweeper", "one")
    assert hold(database, "two")


def test_the_holder_is_known_with_how_long_it_was_silent(database: Database) -> None:
    def holder() -> locks.Holder | None:
        with database.reading() as session:
            return locks.holder(session, "sweeper")

    assert holder() is None
    hold(database, "one")
    found = holder()
    assert found is not None
    assert found.owner == "one"
    assert 0 <= found.silent_s < 60
    hold(database, "one", -1)
    assert holder() is None


def test_of_many_that_ask_at_once_one_gets_it(
    database: Database, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    assert at_once([partial(hold, database, f"{number}") for number in range(6)]).count(True) == 1
