"""Live precision, false positives and misses are what blind verdicts say, by week and policy."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, update

from db.commands.live import model_live as command
from db.quality import live_precision, samples
from db.quality.live_precision import LiveRates
from db.quality.sampling import Sizes, draw_strata, week_of
from db.schema import Draw, Sample
from db.store.session import Database

#: Of the flagged p90 to p99 the upper eight are AI-generated, of those below p88 and p89.
FAKES = {f"p{number}" for number in (88, 89, *range(92, 100))}


@pytest.fixture
def drawn(
    database: Database, add_images: Callable[..., Any], record: Callable[..., Any], set_threshold: Callable[..., int]
) -> Database:
    """A hundred photos that scored 0.00 to 0.99, ten of them flagged; all flagged and just below are drawn."""
    set_threshold(0.9)
    names = [f"p{number:02}" for number in range(100)]
    add_images(*names)
    record({name: number / 100 for number, name in enumerate(names)})
    with database.writing() as session:
        draw_strata(session, Sizes(10, 4, 43), "lee")
    return database


def judge_all(database: Database, only: str | None = None, verdict: str | None = None) -> None:
    with database.writing() as session:
        statement = select(Sample).join(Draw).where(~Sample.judged)
        for sample in session.scalars(statement.where(Draw.stratum == only) if only else statement).all():
            sample.held_by = "ada"  # it was given to her
            samples.record_verdict(
                session, sample.id, "ada", verdict or ("fake" if sample.image_id in FAKES else "real")
            )


def lines(database: Database, **more: Any) -> list[LiveRates]:
    with database.reading() as session:
        return live_precision.live_rates(session, **more)


def test_rates_are_those_of_the_verdicts_weighted_by_what_was_drawn(drawn: Database) -> None:
    judge_all(drawn)
    week, whole = lines(drawn)
    assert (week.model, week.policy, week.week, whole.week) == ("first", "default", week_of(datetime.now(UTC)), None)
    assert (week.photos, week.flagged, week.drawn, week.judged) == (100, 10, 57, 57)
    assert week.precision is not None
    assert week.fpr is not None
    assert week.miss_rate is not None
    assert (week.precision.value, week.precision.low, week.precision.high) == pytest.approx((0.8, 0.8, 0.8))
    assert week.fpr.value == pytest.approx(2 / 90)  # two flagged real ones of ninety
    assert week.miss_rate.value == pytest.approx(2 / 10)
    assert week.miss_rate.low == pytest.approx(0.2)  # these two are known
    assert week.miss_rate.high > 0.3  # half of the rest nobody has seen
    assert (whole.precision, whole.fpr, whole.miss_rate) == (week.precision, week.fpr, week.miss_rate)


def test_nothing_is_known_before_each_stratum_has_a_verdict(drawn: Database) -> None:
    judge_all(drawn, only="flagged")
    (week, _) = lines(drawn)
    assert (week.judged, week.precision, week.fpr, week.miss_rate) == (10, None, None, None)


def test_unsure_is_no_verdict(drawn: Database) -> None:
    judge_all(drawn, verdict="unsure")
    assert lines(drawn)[0].judged == 0


def test_older_weeks_and_other_policies_are_left_out(drawn: Database) -> None:
    judge_all(drawn)
    assert lines(drawn, policy="vip") == []
    with drawn.writing() as session:
        past = datetime(2026, 1, 5, tzinfo=UTC)
        session.execute(update(Draw).values(since=past, until=past))
    assert lines(drawn) == []
    assert len(lines(drawn, weeks=10_000)) == 2


def test_the_command_says_it_to_people_and_programs(drawn: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", drawn.url.render_as_string(hide_password=False))
    judge_all(drawn)
    said = CliRunner().invoke(command, [], catch_exceptions=False).stdout
    assert "80.00% (80.00% to 80.00%)" in said
    week, whole = json.loads(CliRunner().invoke(command, ["--json"], catch_exceptions=False).stdout)
    assert (week["photos"], whole["week"]) == (100, "all")
    assert week["precision"] == pytest.approx({"value": 0.8, "low": 0.8, "high": 0.8})


def test_before_the_first_draw_it_says_how_to_draw(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    said = CliRunner().invoke(command, [], catch_exceptions=False).stdout
    assert said == "no photo was sampled yet: unmask review draw\n"
