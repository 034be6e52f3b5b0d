"""A request whose row is odd costs no other request its lease."""

from collections.abc import Callable

import pytest

from db.store.session import Database
from db.work import on_demand
from tests.odd_rows import change_unchecked


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """Its own: this test changes the schema."""
    return fresh_database


@pytest.mark.both
@pytest.mark.parametrize("attempts", ["2147483647", "-2147483648"])
def test_a_count_that_cannot_grow_is_one_that_is_used_up_and_its_neighbours_are_leased(
    database: Database, add_images: Callable[..., list[str]], attempts: str
) -> None:
    add_images("a", "b")
    with database.writing() as session:
        odd, good = (on_demand.add_request(session, "preview", image_id, "eve") for image_id in "ab")
    change_unchecked(database, odd, f"attempts = {attempts}", "requests")
    with database.writing() as session:
        found = {task.id: task.attempts for task in on_demand.lease_requests(session, [odd, good], 60)}
    assert found == {odd: 1_000_000_000, good: 1}
