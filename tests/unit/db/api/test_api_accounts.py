"""What the platform says of an account reaches reviewers, and nobody else."""

import pytest

from db.review.case_context import account_facts
from db.store.session import Database
from tests.unit.db.api.doors import Door


def test_facts_are_recorded_replaced_and_deleted(database: Database, door: Door) -> None:
    path = "/v1/accounts/a%2Fb/facts"
    assert door.ask("PUT", path, json={"Reports": 2}).status_code == 204
    assert door.ask("PUT", path, json={"Plan": "free", "Known": None, "Old": {"x": [1]}}).status_code == 204
    with database.reading() as session:
        facts, _ = account_facts(session, "a/b")
    assert facts == [("Plan", "free"), ("Known", "none"), ("Old", '{"x": [1]}')]
    assert door.ask("DELETE", path).status_code == 204
    assert door.ask("DELETE", path).status_code == 404
    with database.reading() as session:
        assert account_facts(session, "a/b") == ([], None)


@pytest.mark.parametrize("body", ["[1]", "", "{", '"text"', '{"x": "' + "y" * 16_384 + '"}'])
def test_what_is_no_small_object_is_refused(door: Door, body: str) -> None:
    answer = door.ask("PUT", "/v1/accounts/ada/facts", data=body, headers={"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
