"""Thresholds are appended, never changed; the latest of a policy and model version stands."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from db.models import versions
from db.policy import thresholds
from db.errors import DbError
from db.schema import Threshold
from db.store.session import Database
from db.policy.thresholds import Standing


def set_value(database: Database, version_id: int, value: float, policy: str = "default") -> int:
    with database.writing() as session:
        return thresholds.set_value(session, version_id, policy, value, "ada", "measured").id


def standing(database: Database, version_id: int) -> dict[str, Standing]:
    with database.reading() as session:
        return thresholds.standing(session, version_id)


def test_without_thresholds_nothing_stands(database: Database, version_id: int) -> None:
    assert standing(database, version_id) == {}


def test_the_latest_of_each_policy_stands(database: Database, version_id: int) -> None:
    set_value(database, version_id, 0.9)
    vip = set_value(database, version_id, 0.8, "vip")
    latest = set_value(database, version_id, 0.5)
    assert standing(database, version_id) == {"default": Standing(latest, 0.5), "vip": Standing(vip, 0.8)}


def test_the_history_is_kept_with_who_when_and_why(database: Database, version_id: int) -> None:
    for value in (0.9, 0.5, 0.9):
        set_value(database, version_id, value)
    with database.reading() as session:
        history = session.scalars(select(Threshold).order_by(Threshold.id)).all()
    assert [(row.value, row.author, row.reason) for row in history] == [
        (value, "ada", "measured") for value in (0.9, 0.5, 0.9)
    ]
    assert all(abs(datetime.now(UTC) - row.created_at) < timedelta(seconds=30) for row in history)


def test_each_version_has_its_own(database: Database, version_id: int) -> None:
    with database.writing() as session:
        other = versions.register(session, "other", "2" * 64, "unmask-1", {}).id
    first = set_value(database, version_id, 0.9)
    second = set_value(database, other, 0.4)
    assert standing(database, version_id) == {"default": Standing(first, 0.9)}
    assert standing(database, other) == {"default": Standing(second, 0.4)}


def test_they_are_listed_by_policy(database: Database, version_id: int) -> None:
    for policy in ("vip", "default", "new"):
        set_value(database, version_id, 0.5, policy)
    with database.reading() as session:
        assert [row.policy for row in thresholds.latest(session, version_id)] == ["default", "new", "vip"]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_threshold_may_be_any_score(database: Database, version_id: int, value: float) -> None:
    set_value(database, version_id, value)
    assert standing(database, version_id)["default"].value == value


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_what_is_no_score_is_no_threshold(database: Database, version_id: int, value: float) -> None:
    with pytest.raises(DbError, match="is not a score"):
        set_value(database, version_id, value)
    assert standing(database, version_id) == {}


def test_a_policys_name_is_an_id(database: Database, version_id: int) -> None:
    with pytest.raises(ValueError, match="policy must be text of 1 to 128 characters"):
        set_value(database, version_id, 0.5, "x" * 129)
