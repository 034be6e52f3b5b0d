"""Whatever one delivery's row holds, and however the platform answers it, the others are told in the same step."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from db.schema import Delivery
from db.store.session import Database
from db.work import deliveries
from tests.odd_deliveries import all_kinds
from tests.odd_rows import change_unchecked, sql
from tests.unit.worker.background.platform import Platform, begun, flag


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """Its own: these tests change the schema."""
    return fresh_database


def delivery_of(database: Database, image_id: str) -> int:
    with database.reading() as session:
        return session.scalars(select(Delivery.id).where(Delivery.image_id == image_id)).one()


def states(database: Database, ids: list[int]) -> list[str]:
    """Read as plain SQL: a row may hold what no schema of ours has."""
    with database.reading() as session:
        found = {row.id: row.state for row in session.execute(text("SELECT id, state FROM deliveries"))}
    return [found[number] for number in ids]


def told(platform: Platform) -> list[dict[str, Any]]:
    found = [json.loads(body) for _, body in platform.heard]
    platform.heard.clear()
    return found


@pytest.mark.slow
@pytest.mark.both
def test_any_one_of_the_deliveries_may_be_garbage_and_the_others_are_told_at_once(
    database: Database, platform: Platform
) -> None:
    courier, kinds = begun(database, platform, UNMASK_WEBHOOK_EVENTS="image.scored"), all_kinds(database)
    flag(database, "first")
    assert courier.step() is True
    told(platform)

    @settings(
        max_examples=2 * len(kinds),
        deadline=None,
        phases=[Phase.explicit, Phase.generate],  # to shrink an example takes longer than to read it
        suppress_health_check=list(HealthCheck),
    )
    @given(kind=st.sampled_from(sorted(kinds)), count=st.integers(2, 6), at=st.integers(0, 5))
    def check(kind: str, count: int, at: int) -> None:
        ids = [uuid.uuid4().hex for _ in range(count)]
        flag(database, *ids)
        numbers = [delivery_of(database, image_id) for image_id in ids]
        odd = numbers.pop(at % count)
        del ids[at % count]
        change_unchecked(database, odd, sql(database, kinds[kind]), "deliveries")
        courier.step()
        heard = {event["data"]["image_id"] for event in told(platform)}
        assert heard >= set(ids)
        assert states(database, numbers) == ["done"] * len(numbers)
        with database.reading() as session:
            assert deliveries.count_undelivered(session)[0] == 0
            (row,) = [row for row in deliveries.list_deliveries(session, None, 10) if row.id == odd]
            assert row.state == "erased" or (row.state == "done" and row.reason is None) or row.reason
            assert len(row.reason or "") < 1000
        assert courier.step() is False

    check()
