"""Cases are found in a terminal by age, score and account, page by page."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest

from db.commands.cases import cases_group
from db.errors import DbError
from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.queue import targets
from db.queue.case_filter import PARAMETERS
from db.review import case_queue, reviews
from db.schema import Case
from db.store.session import Database
from db.work import images
from db.work.images import NewImage

Asked = Callable[..., Any]
#: Options of `cases list`, in the words of the console's queue, and the accounts of `said` that they find.
BY_SIGNAL = {
    "": ["edited", "novel", "old", "silent"],
    "--signal provenance.ai": ["novel"],
    "--signal provenance.camera": ["edited"],
    "--signal provenance.unread": [],
    "--generator NovelAI": ["novel"],
    "--generator Firefly --signal provenance.camera": ["edited"],
    "--generator X100": [],
    "--model second": ["edited", "novel", "silent"],
    "--model first --state all": ["old"],
    "--model nobody": [],
    "--unstable": [],
    "--unstable no --model first": ["old"],
}
BY_WORK = {
    "--decided-by sam": ["novel"],
    "--decided-by sam --state all": ["edited", "novel"],
    "--decided-by me --state all": ["novel", "old"],
    "--decided-by kim --state all": [],
    "--state dismissed": ["edited"],
    "--appealed yes": ["novel"],
    "--appealed no": ["old", "silent"],
    "--assignee me": ["silent"],
    "--assignee nobody": ["novel", "old"],
    "--assignee sam": [],
    "--disagreed": ["novel"],
    "--disagreed --state confirmed": [],
    "--until 2020-01-31": [],
    "--since 2020-01-31 --order value": ["novel", "old", "silent"],
    "--due soon": ["silent"],
    "--due late": [],
}


def test_cases_are_paged_in_either_order_and_searched_by_account(database: Database, asked: Asked) -> None:
    with database.writing() as session:
        version = versions.register(session, "first", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
        found = {"ada": 0.7, "bob": 0.9, "adam": 0.8}
        images.add_images(session, [NewImage(name, name, f"{name}.jpg") for name in found], -60)
        for name, score in found.items():
            scored = Scored(name, "default", score, "f" * 64, 1000, 640, 480)
            scores.record(session, [scored], Provenance(version.id, "eager-fp32", "cpu"))

    def accounts(*arguments: str) -> list[str]:
        return [row["account"] for row in asked(cases_group, *arguments)]

    assert accounts("list") == ["ada", "bob", "adam"]
    assert accounts("list", "--order", "score") == ["bob", "adam", "ada"]
    last = asked(cases_group, "list", "--order", "score", "--limit", "2")[-1]["case"]
    assert accounts("list", "--order", "score", "--after", str(last)) == ["ada"]
    assert accounts("search", "ada") == ["ada", "adam"]


@pytest.mark.both
def test_cases_are_found_by_what_flagged_them(asked: Asked, said: dict[str, int]) -> None:
    assert said
    assert {options: _accounts(asked, options) for options in BY_SIGNAL} == BY_SIGNAL


@pytest.mark.both
def test_cases_are_found_by_who_works_on_them_and_when(
    database: Database, asked: Asked, said: dict[str, int], decide: Callable[..., Any]
) -> None:
    assert said
    case_of = {row["account"]: row["case"] for row in asked(cases_group, "list")}
    decide(case_of["edited"], "kim", "confirmed")
    with database.writing() as session:
        reviews.undo_decisions(session, {case_of["edited"]: session.get_one(Case, case_of["edited"]).version}, "kim")
    decide(case_of["edited"], "sam", "dismissed")
    decide(case_of["old"], "ada", "unsure")
    for reviewer, decision in (("sam", "dismissed"), ("ada", "confirmed")):
        decide(case_of["novel"], reviewer, decision)
        with database.writing() as session:
            version = session.get_one(Case, case_of["novel"]).version
            reviews.appeal_decision(session, case_of["novel"], version, "support", "It is me.")
    with database.writing() as session:
        case_queue.acquire_case(session, case_of["silent"], "ada", 900)
        session.get_one(Case, case_of["silent"]).created_at = datetime.now(UTC) - timedelta(hours=9)
        targets.set_target(session, "default", timedelta(hours=10).total_seconds())
    assert {options: _accounts(asked, options) for options in BY_WORK} == BY_WORK


def test_an_unknown_filter_is_refused(run: Callable[..., Any]) -> None:
    assert "'watermark' is not one of 'provenance.ai'" in run(cases_group, "list", "--signal", "watermark").output
    with pytest.raises(DbError, match="since 'yesterday' is not a day such as 2026-01-31"):
        run(cases_group, "list", "--since", "yesterday")


def test_the_terminal_has_every_filter_of_the_console() -> None:
    options = {option.name for option in cases_group.commands["list"].params if isinstance(option, click.Option)}
    assert set(PARAMETERS) <= options


def _accounts(asked: Asked, options: str) -> list[str]:
    return sorted(row["account"] for row in asked(cases_group, "list", *options.split()))
