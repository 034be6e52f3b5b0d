"""Thresholds are appended, never changed; the latest of a policy and model version is in effect."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from db.errors import DbError
from db.models import versions
from db.policy import thresholds
from db.schema import Threshold
from db.store.session import Database


def set_value(database: Database, version_id: int, value: float, policy: str = "default") -> int:
    with database.writing() as session:
        return thresholds.set_value(session, version_id, policy, value, "ada", "measured").id


def in_effect(database: Database, version_id: int) -> dict[str, tuple[int, float]]:
    with database.reading() as session:
        rows = thresholds.in_effect(session, version_id)
        return {row.policy: (row.id, row.value) for row in rows}


def test_without_thresholds_none_is_in_effect(database: Database, version_id: int) -> None:
    assert in_effect(database, version_id) == {}


@pytest.mark.usefixtures("vip")
def test_the_latest_of_each_policy_is_in_effect(database: Database, version_id: int) -> None:
    set_value(database, version_id, 0.9)
    vip = set_value(database, version_id, 0.8, "vip")
    latest = set_value(database, version_id, 0.5)
    assert in_effect(database, version_id) == {"default": (latest, 0.5), "vip": (vip, 0.8)}


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
    assert in_effect(database, version_id) == {"default": (first, 0.9)}
    assert in_effect(database, other) == {"default": (second, 0.4)}


def test_they_are_listed_by_policy(database: Database, version_id: int, add_policy: Callable[[str], None]) -> None:
    for policy in ("vip", "default", "new"):
        add_policy(policy)
        set_value(database, version_id, 0.5, policy)
    with database.reading() as session:
        assert [row.policy for row in thresholds.in_effect(session, version_id)] == ["default", "new", "vip"]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_threshold_may_be_any_score(database: Database, version_id: int, value: float) -> None:
    set_value(database, version_id, value)
    assert in_effect(database, version_id)["default"][1] == value


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_what_is_no_score_is_no_threshold(database: Database, version_id: int, value: float) -> None:
    with pytest.raises(DbError, match="is not a score"):
        set_value(database, version_id, value)
    assert in_effect(database, version_id) == {}


def test_a_policys_name_is_an_id(database: Database, version_id: int) -> None:
    with pytest.raises(ValueError, match="policy must be text of 1 to 128 characters"):
        set_value(database, version_id, 0.5, "x" * 129)
