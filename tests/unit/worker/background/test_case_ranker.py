# ruff: noqa: F811 - a fixture is named like the argument that asks for it
"""The queue's order is kept by one worker at a time, for new cases at once and for all as decisions teach."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from db.review import reviews
from db.review.reviews import Decision
from db.review.settings import ReviewSettings
from db.schema import UNRANKED, Case
from db.store.session import Database
from tests.unit.db.conftest import add_images, open_case, record, version_id  # noqa: F401 - fixtures
from worker.background import case_ranker
from worker.background.case_ranker import CaseRanker

OpenCase = Callable[..., int]


def chances(database: Database) -> list[float | None]:
    with database.reading() as session:
        return list(session.scalars(select(Case.chance).where(Case.state == "open").order_by(Case.id)))


def test_new_cases_are_ranked_by_the_one_worker_that_holds_the_lock(database: Database, open_case: OpenCase) -> None:
    open_case("a")
    first, second = (CaseRanker(database, owner, ReviewSettings()) for owner in ("first", "second"))
    while first.step():
        pass
    assert chances(database) == [0.5]
    open_case("b")
    assert not second.step()
    with database.reading() as session:
        assert session.scalars(select(Case.priority).order_by(Case.id)).all()[1] == UNRANKED
    first.release_lock()
    while second.step():
        pass
    assert chances(database) == [0.5, 0.5]


def test_what_people_decide_moves_the_chances_of_all_open_cases(
    database: Database,
    open_case: OpenCase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = open_case("waiting", 0.9)
    ranker = CaseRanker(database, "worker", ReviewSettings())
    while ranker.step():
        pass
    for number in range(6):
        case_id = open_case(f"account {number}", 0.9)
        with database.writing() as session:
            reviews.decide_case(session, Decision(case_id, 1, "ada", "confirmed"), ReviewSettings())
    monkeypatch.setattr(case_ranker, "_AGAIN_S", 0.0)
    ranker.step()
    monkeypatch.undo()
    while ranker.step():
        pass
    with database.reading() as session:
        assert session.get_one(Case, waiting).chance == pytest.approx((6 + 4 * 0.5) / (6 + 4), abs=0.25)
        assert (session.get_one(Case, waiting).chance or 0) > 0.55
