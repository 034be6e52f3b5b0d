"""A day that scores otherwise than the reference week is seen, by policy, on both databases alike."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats  # type: ignore[import-untyped]  # SciPy carries no types
from sqlalchemy import insert

from db.models import versions
from db.policy import thresholds
from db.quality import drift
from db.quality.drift import DailyDrift, DayRange
from db.schema import Image, Score
from db.store.session import Database
from worker.cli import root

NOW = datetime.now(UTC)
WEEK = DayRange((NOW - timedelta(days=20)).date(), (NOW - timedelta(days=14)).date())
SIZE = 150


@pytest.fixture
def version(database: Database) -> int:
    with database.writing() as session:
        return versions.register(session, "m", "1" * 64, "unmask-1", {}).id


def reals(seed: int, size: int = SIZE) -> list[float]:
    """As real photos score: most of them hardly above 0."""
    return [float(score) for score in np.random.default_rng(seed).beta(0.3, 6, size)]


def fakes(seed: int, size: int = SIZE) -> list[float]:
    return [float(score) for score in np.random.default_rng(seed).beta(6, 0.5, size)]


def add(database: Database, version: int, days_ago: float, scores: Sequence[float], policy: str = "default") -> None:
    when = NOW - timedelta(days=days_ago)
    images = [
        {"id": f"{policy}-{days_ago}-{n}", "account_id": "a", "url": "u", "policy": policy} for n in range(len(scores))
    ]
    made = {"version_id": version, "engine": "eager", "device": "cpu", "created_at": when}
    rows = [made | {"image_id": image["id"], "score": score} for image, score in zip(images, scores, strict=True)]
    with database.writing() as session:
        session.execute(insert(Image), images)
        session.execute(insert(Score), rows)


def lines(database: Database, version: int, policy: str | None = None) -> dict[tuple[date, str], DailyDrift]:
    days = DayRange((NOW - timedelta(days=9)).date(), NOW.date())
    with database.reading() as session:
        found = drift.daily_drift(session, versions.by_name(session, "m"), WEEK, days, policy)
    assert version
    return {(line.day, line.policy): line for line in found}


def ago(days: int) -> date:
    return (NOW - timedelta(days=days)).date()


def test_a_day_like_the_reference_is_stable_and_one_of_fakes_is_an_alarm(database: Database, version: int) -> None:
    for day in range(14, 21):
        add(database, version, day, reals(day))
    add(database, version, 2, reals(2))
    add(database, version, 1, fakes(1))
    found = lines(database, version)
    assert found[ago(2), "default"].distance.level == "stable"
    assert found[ago(1), "default"].distance.level == "alarm"
    assert list(found) == [(ago(1), "default"), (ago(2), "default")], (
        "the latest first, and only days that were asked for"
    )
    assert found[ago(1), "default"].reference.count == 7 * SIZE


def test_the_gap_of_binned_scores_is_scipys_of_the_scores_themselves(database: Database, version: int) -> None:
    one, other = reals(1, 600), [min(1.0, score * 1.3) for score in reals(2, 500)]
    add(database, version, 15, one)
    add(database, version, 1, other)
    found = lines(database, version)[ago(1), "default"].distance
    expected = stats.ks_2samp(one, other, method="asymp")
    assert found.ks == pytest.approx(expected.statistic, abs=0.01)
    assert found.ks <= expected.statistic + 1e-12, "bins hide a gap, and make none"


@pytest.mark.usefixtures("vip")
def test_the_flagged_share_is_by_the_threshold_of_each_policy_and_others_are_part_of_default(
    database: Database, version: int, add_policy: Callable[[str], None]
) -> None:
    add_policy("unknown")
    with database.writing() as session:
        thresholds.set_value(session, version, "default", 0.9, "ada", "")
        thresholds.set_value(session, version, "vip", 0.5, "ada", "")
    for policy in ("default", "vip", "unknown"):
        add(database, version, 15, [0.1, 0.9], policy)
        add(database, version, 1, [0.1, 0.6, 0.9, 0.95], policy)
    found = lines(database, version)
    assert {policy: line.found.flagged_share for (_, policy), line in found.items()} == {"default": 0.5, "vip": 0.75}
    assert found[ago(1), "default"].found.count == 8
    assert found[ago(1), "default"].reference.flagged_share == 0.5
    alone = lines(database, version, "unknown")
    assert {key: (line.found.count, line.found.flagged) for key, line in alone.items()} == {(ago(1), "unknown"): (4, 2)}


def test_nothing_is_flagged_where_no_threshold_stands_and_few_photos_say_nothing(
    database: Database, version: int
) -> None:
    add(database, version, 15, reals(1))
    add(database, version, 1, [0.0, 1.0])
    line = lines(database, version)[ago(1), "default"]
    assert (line.found.flagged_share, line.distance.level) == (0, "few")


def test_other_versions_scores_count_for_nothing(database: Database, version: int) -> None:
    with database.writing() as session:
        other = versions.register(session, "other", "2" * 64, "unmask-1", {}).id
    add(database, other, 1, fakes(1))
    add(database, version, 15, reals(1))
    assert lines(database, version) == {}


def asked(*words: str) -> Any:
    result = CliRunner().invoke(root, ["model", "drift", *words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_command_compares_with_the_models_first_week_or_the_one_that_is_named(
    database: Database, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    add(database, version, 20, reals(1))
    add(database, version, 10, fakes(2))
    add(database, version, 1, fakes(3))
    assert [(row["day"], row["level"]) for row in asked()] == [(f"{ago(1)}", "alarm"), (f"{ago(10)}", "alarm")]
    week = ["--reference-from", f"{ago(10)}", "--reference-to", f"{ago(9)}", "--days", "5"]
    assert [(row["day"], row["level"]) for row in asked(*week)] == [(f"{ago(1)}", "stable")]


def test_yesterday_is_what_metrics_show(database: Database, version: int) -> None:
    with database.reading() as session:
        assert drift.drift_yesterday(session) == []
    add(database, version, 15, reals(1))
    add(database, version, 1, fakes(1))
    add(database, version, 0, reals(2))
    with database.reading() as session:
        (line,) = drift.drift_yesterday(session)
    assert (line.day, line.distance.level) == (ago(1), "alarm")
