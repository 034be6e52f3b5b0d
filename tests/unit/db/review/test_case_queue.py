"""Each reviewer has a case of their own, and nobody waits for somebody who went to lunch."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from db.errors import ConflictError, HeldError, NotFoundError, SecondPersonError
from db.privacy import erasure
from db.review import case_queue, reviews
from db.review.cases import list_cases
from db.schema import Case, Review
from db.schema.clock import moment
from db.store.session import Database

OpenCase = Callable[..., int]
Decide = Callable[..., Review]
pytestmark = pytest.mark.both  # databases can differ here


def next_case(database: Database, reviewer: str, lease_s: float = 600, **more: Any) -> int | None:
    with database.writing() as session:
        return case_queue.next_case(session, reviewer, lease_s=lease_s, **more)


def hold(database: Database, case_id: int, reviewer: str, lease_s: float = 600) -> None:
    with database.writing() as session:
        case_queue.acquire_case(session, case_id, reviewer, lease_s)


def test_no_two_reviewers_are_given_one_case(database: Database, open_case: OpenCase) -> None:
    first, second = open_case("a"), open_case("b")
    assert next_case(database, "ada") == first
    assert next_case(database, "bob") == second
    assert next_case(database, "cy") is None


def test_whoever_asks_again_gets_the_same_case_unless_they_say_which_not(
    database: Database, open_case: OpenCase
) -> None:
    first, second = open_case("a"), open_case("b")
    assert [next_case(database, "ada") for _ in range(2)] == [first, first]
    assert next_case(database, "ada", excluding=[first]) == second
    assert next_case(database, "ada", excluding=[first, second]) is None


def test_reviewers_who_ask_at_the_same_moment_get_different_cases(
    database: Database, open_case: OpenCase, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    ids = [open_case(f"account {number}") for number in range(6)]

    def taking(reviewer: str) -> Callable[[], list[int | None]]:
        return lambda: [next_case(database, f"{reviewer} {number}") for number in range(2)]

    found = at_once([taking(reviewer) for reviewer in ("ada", "bob", "cy")])
    assert sorted(case_id for given in found for case_id in given) == ids


def test_a_case_that_somebody_is_just_taking_is_passed_over_and_not_waited_for(
    database: Database, open_case: OpenCase
) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: the second waits, and then sees what the first took")
    first, second = open_case("a"), open_case("b")
    with database.writing() as taking:
        assert case_queue.next_case(taking, "ada", lease_s=600) == first
        assert next_case(database, "bob") == second


def test_a_lease_ends_and_the_case_is_the_next_ones(database: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    assert next_case(database, "ada", lease_s=-1) == case_id
    assert next_case(database, "bob") == case_id
    assert next_case(database, "ada") is None


def test_the_oldest_comes_first_or_the_highest_score(database: Database, open_case: OpenCase) -> None:
    for account, score in (("a", 0.7), ("b", 0.95), ("c", 0.8)):
        open_case(account, score)
    assert [next_case(database, f"age {n}") for n in range(3)] == sorted(ids_of(database))
    release_all(database)
    a, b, c = ids_of(database)
    assert [next_case(database, f"score {n}", order="score") for n in range(3)] == [b, c, a]


def test_a_new_photo_may_move_a_case_up(database: Database, open_case: OpenCase) -> None:
    low, high = open_case("a", 0.7), open_case("b", 0.8)
    open_case("a", 0.9, photo=2)
    assert next_case(database, "ada", order="score") == low
    assert next_case(database, "bob", order="score") == high


def test_a_policys_cases_can_be_had_alone(database: Database, open_case: OpenCase) -> None:
    open_case("a")
    vip = open_case("b", policy="vip")
    assert next_case(database, "ada", policy="vip") == vip
    assert next_case(database, "bob", policy="vip") is None


def test_closed_cases_are_nobodys_next(database: Database, open_case: OpenCase, decide: Decide) -> None:
    decide(open_case(), "ada")
    assert next_case(database, "bob") is None


def test_what_one_was_unsure_of_is_only_others_next(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    decide(case_id, "ada", "unsure")
    assert next_case(database, "ada") is None
    assert next_case(database, "bob") == case_id


def test_what_was_appealed_is_not_the_next_of_who_decided_it(
    database: Database, open_case: OpenCase, decide: Decide
) -> None:
    case_id = open_case()
    decide(case_id, "ada")
    with database.writing() as session:
        reviews.appeal_decision(session, case_id, session.get_one(Case, case_id).version, "lee", "look again")
    assert next_case(database, "ada") is None
    assert next_case(database, "bob") == case_id


def test_what_one_took_back_is_ones_next_again(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    decide(case_id, "ada")
    with database.writing() as session:
        reviews.undo_decision(session, case_id, session.get_one(Case, case_id).version, "ada")
    assert next_case(database, "ada") == case_id


def test_a_held_case_is_named_with_who_has_it_and_is_released_by_nobody_else(
    database: Database, open_case: OpenCase
) -> None:
    case_id = open_case()
    hold(database, case_id, "ada")
    hold(database, case_id, "ada")
    with pytest.raises(HeldError, match=f"case {case_id} is held by ada until "):
        hold(database, case_id, "bob")
    release(database, case_id, "bob")
    with pytest.raises(HeldError):
        hold(database, case_id, "bob")
    release(database, case_id, "ada")
    hold(database, case_id, "bob")


def test_holding_changes_no_page(database: Database, open_case: OpenCase, case_of: Callable[[int], Case]) -> None:
    case_id = open_case()
    before = case_of(case_id)
    hold(database, case_id, "ada")
    release(database, case_id, "ada")
    after = case_of(case_id)
    assert (after.version, after.changed_at) == (before.version, before.changed_at)


def test_what_cannot_be_decided_cannot_be_held(database: Database, open_case: OpenCase, decide: Decide) -> None:
    closed, unsure = open_case("a"), open_case("b")
    decide(closed, "ada")
    decide(unsure, "ada", "unsure")
    with pytest.raises(ConflictError, match=f"case {closed} is closed as AI-generated: only an open case can be held"):
        hold(database, closed, "bob")
    with pytest.raises(SecondPersonError, match=f"case {unsure} was left unsure by ada"):
        hold(database, unsure, "ada")
    with pytest.raises(NotFoundError, match="case 4711"):
        hold(database, 4711, "ada")


def test_the_backlog_counts_what_waits_and_for_how_long(
    database: Database, open_case: OpenCase, decide: Decide
) -> None:
    with database.reading() as session:
        assert case_queue.count_backlog(session) == case_queue.Backlog(0, 0, 0, None, {})
    a, b = open_case("a"), open_case("b")
    open_case("c", policy="vip")
    decide(open_case("d"), "ada")
    decide(a, "ada", "unsure")
    hold(database, b, "ada")
    with database.writing() as session:
        session.execute(update(Case).where(Case.id == a).values(created_at=moment(-3600)))
    with database.reading() as session:
        found = case_queue.count_backlog(session)
    assert (found.open, found.held, found.unsure, found.by_policy) == (3, 1, 1, {"default": 2, "vip": 1})
    assert found.oldest_s is not None
    assert 3600 <= found.oldest_s < 3660


def test_an_account_that_is_forgotten_waits_for_nobody(database: Database, open_case: OpenCase, decide: Decide) -> None:
    decide(open_case("ada"), "pat", "unsure")
    erasure.erase_account(database, "ada")
    with database.reading() as session:
        assert case_queue.count_backlog(session) == case_queue.Backlog(0, 0, 0, None, {})


def release(database: Database, case_id: int, reviewer: str) -> None:
    with database.writing() as session:
        case_queue.release_case(session, case_id, reviewer)


def release_all(database: Database) -> None:
    with database.writing() as session:
        session.execute(update(Case).values(held_by=None, held_until=None))


def ids_of(database: Database) -> list[int]:
    with database.reading() as session:
        return [line.case.id for line in list_cases(session, "open", None, 100)]
