"""People decide: once each, on what they have seen; nothing is overwritten, and what is appealed goes to others."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import select, update

from db.errors import ConflictError, DbError, HeldError, NotFoundError, SecondPersonError, StaleError
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget, set_threshold
from db.policy.threshold_choice import ThresholdChoice
from db.privacy import erasure
from db.review import case_queue, reviews
from db.review.reviews import Decision
from db.review.settings import ReviewSettings
from db.schema import Appeal, Case, ModelVersion, Request, Review
from db.store.session import Database
from db.work import on_demand

OpenCase = Callable[..., int]
Decide = Callable[..., Review]
CaseOf = Callable[[int], Case]
AtOnce = Callable[[Sequence[Callable[[], Any]]], list[Any]]
TWO = ReviewSettings(two_person_policies=("default",))
pytestmark = pytest.mark.both  # databases can differ here


def rows(database: Database, case_id: int) -> list[tuple[str, str]]:
    with database.reading() as session:
        found = session.scalars(select(Review).where(Review.case_id == case_id).order_by(Review.id))
        return [(review.reviewer, review.decision) for review in found]


def undo(database: Database, case_id: int, reviewer: str, **more: Any) -> None:
    with database.writing() as session:
        reviews.undo_decision(session, case_id, session.get_one(Case, case_id).version, reviewer, **more)


def appeal(database: Database, case_id: int, author: str = "lee", reason: str = "a real photo, says its owner") -> None:
    with database.writing() as session:
        reviews.appeal_decision(session, case_id, session.get_one(Case, case_id).version, author, reason)


# Deciding


@pytest.mark.parametrize("decision", ["confirmed", "dismissed"])
def test_a_decision_closes_its_case_and_says_all_that_was_said(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf, decision: str
) -> None:
    case_id = open_case()
    before = case_of(case_id)
    review = decide(case_id, "ada", decision, reason="artefacts", note="the ears", blind=True)
    assert (review.reviewer, review.decision, review.reason, review.note, review.blind, review.undoes) == (
        "ada", decision, "artefacts", "the ears", True, None,
    )  # fmt: skip
    after = case_of(case_id)
    assert (after.state, after.version, after.second) == (decision, before.version + 1, False)
    assert after.changed_at >= before.changed_at
    assert rows(database, case_id) == [("ada", decision)]


def test_what_somebody_is_unsure_of_waits_for_a_second_person_and_never_for_the_same(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf
) -> None:
    case_id = open_case()
    decide(case_id, "ada", "unsure")
    assert (case_of(case_id).state, case_of(case_id).second) == ("open", True)
    with pytest.raises(
        SecondPersonError, match=f"case {case_id} was left unsure by ada at .*: another reviewer must decide"
    ):
        decide(case_id, "ada", "confirmed")
    decide(case_id, "bob", "confirmed")
    assert (case_of(case_id).state, case_of(case_id).second) == ("confirmed", False)
    assert rows(database, case_id) == [("ada", "unsure"), ("bob", "confirmed")]


def test_a_stale_page_cannot_overwrite_and_is_told_what_happened_and_by_whom(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf
) -> None:
    case_id = open_case()
    seen = case_of(case_id).version
    decide(case_id, "ada", "dismissed")
    said = f"case {case_id} has changed, from version {seen} to {seen + 1}: decided: real by ada"
    with pytest.raises(StaleError, match=said), database.writing() as session:
        reviews.decide_case(session, Decision(case_id, seen, "bob", "confirmed"))
    assert rows(database, case_id) == [("ada", "dismissed")]


def test_a_new_photo_makes_a_page_stale_too(database: Database, open_case: OpenCase, case_of: CaseOf) -> None:
    case_id = open_case()
    seen = case_of(case_id).version
    open_case(photo=2)
    with pytest.raises(StaleError, match=r"photo account-2 flagged$"), database.writing() as session:
        reviews.decide_case(session, Decision(case_id, seen, "bob", "confirmed"))


def test_two_who_decide_on_the_same_page_at_once_are_one_decision_and_one_refusal(
    database: Database,
    open_case: OpenCase,
    case_of: CaseOf,
    at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]],
) -> None:
    for round_ in range(5):
        case_id = open_case(f"account {round_}")
        version = case_of(case_id).version

        def decide(reviewer: str, case_id: int = case_id, version: int = version) -> str:
            try:
                with database.writing() as session:
                    reviews.decide_case(session, Decision(case_id, version, reviewer, "confirmed"))
            except StaleError:
                return "stale"
            return "decided"

        assert sorted(at_once([lambda: decide("ada"), lambda: decide("bob")])) == ["decided", "stale"]
        assert len(rows(database, case_id)) == 1


def test_a_case_that_somebody_else_looks_at_is_theirs(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    with database.writing() as session:
        case_queue.acquire_case(session, case_id, "ada", 600)
    with pytest.raises(HeldError, match=f"case {case_id} is held by ada until 20..-..-.. ..:..:.. UTC"):
        decide(case_id, "bob")
    decide(case_id, "ada")
    with database.reading() as session:
        assert session.get_one(Case, case_id).held_by is None


def test_when_a_lease_is_over_anybody_may_decide(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    with database.writing() as session:
        case_queue.acquire_case(session, case_id, "ada", -1)
    decide(case_id, "bob")
    assert rows(database, case_id) == [("bob", "confirmed")]


def test_a_closed_case_is_not_decided_again(open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    decide(case_id, "ada", "dismissed")
    with pytest.raises(ConflictError, match=f"case {case_id} is closed as real: only an open case can be decided"):
        decide(case_id, "bob")


def test_a_withdrawn_case_is_not_decided(
    database: Database, open_case: OpenCase, decide: Decide, version_id: int
) -> None:
    case_id = open_case()
    with database.writing() as session:
        set_threshold(
            session, version_id, "default", ThresholdChoice(0.95), ChangeAuthor("pat", "too many"), Budget(10)
        )
    with pytest.raises(ConflictError, match=f"case {case_id} is withdrawn"):
        decide(case_id, "ada")


def test_an_erased_case_is_neither_decided_nor_undone_nor_appealed(
    database: Database, open_case: OpenCase, decide: Decide
) -> None:
    case_id, decided = open_case("ada"), open_case("bob")
    decide(decided, "pat")
    for account in ("ada", "bob"):
        erasure.erase_account(database, account)
    with pytest.raises(ConflictError, match=f"case {case_id} was erased with its account"):
        decide(case_id, "ada")
    with pytest.raises(ConflictError, match=f"case {decided} was erased"):
        undo(database, decided, "pat")
    with pytest.raises(ConflictError, match=f"case {decided} was erased"):
        appeal(database, decided)


def test_a_case_that_is_not_there_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError, match="case 4711 does not exist"), database.writing() as session:
        reviews.decide_case(session, Decision(4711, 1, "ada", "confirmed"))


def test_a_reason_is_one_of_those_that_the_platform_chose(
    database: Database, open_case: OpenCase, case_of: CaseOf
) -> None:
    case_id = open_case()
    ours = ReviewSettings(review_reasons=("ears", "eyes"))
    made = Decision(case_id, case_of(case_id).version, "ada", "confirmed", reason="nose")
    with pytest.raises(DbError, match="reason 'nose' is not one of ears, eyes"), database.writing() as session:
        reviews.decide_case(session, made, ours)


@pytest.mark.parametrize("decision", ["undone", "open", ""])
def test_there_are_three_decisions(decision: str) -> None:
    with pytest.raises(DbError, match=r"decision '.*' is unknown: use confirmed, dismissed or unsure"):
        Decision(1, 1, "ada", decision)


def test_a_decision_is_somebodys() -> None:
    with pytest.raises(ValueError, match="reviewer must be text"):
        Decision(1, 1, "", "confirmed")


# Two people


def test_where_two_must_agree_the_first_closes_nothing(
    database: Database, open_case: OpenCase, case_of: CaseOf, monkeypatch: pytest.MonkeyPatch, decide: Decide
) -> None:
    monkeypatch.setenv("UNMASK_TWO_PERSON_POLICIES", "vip, default")
    case_id = open_case()
    decide(case_id, "ada", "confirmed")
    assert (case_of(case_id).state, case_of(case_id).second) == ("open", True)
    with pytest.raises(SecondPersonError):
        decide(case_id, "ada", "confirmed")
    decide(case_id, "bob", "dismissed")
    assert case_of(case_id).state == "open"
    decide(case_id, "cy", "dismissed")
    assert case_of(case_id).state == "dismissed"
    undo(database, case_id, "cy")
    assert (case_of(case_id).state, case_of(case_id).second) == ("open", True)


def test_other_policies_need_one(database: Database, open_case: OpenCase, case_of: CaseOf) -> None:
    case_id = open_case(policy="vip")
    with database.writing() as session:
        reviews.decide_case(session, Decision(case_id, case_of(case_id).version, "ada", "confirmed"), TWO)
    assert case_of(case_id).state == "confirmed"


# Several at once


def test_several_cases_are_decided_together_when_their_number_is_repeated(
    database: Database, open_case: OpenCase, case_of: CaseOf
) -> None:
    ids = [open_case(f"account {number}") for number in range(3)]
    made = [Decision(case_id, case_of(case_id).version, "ada", "confirmed") for case_id in ids]
    for confirmed, said in ((None, "--confirm 3$"), (2, "--confirm 3, not --confirm 2")):
        with pytest.raises(ConflictError, match=said), database.writing() as session:
            reviews.decide_cases(session, made, confirmed)
    with database.writing() as session:
        assert [review.case_id for review in reviews.decide_cases(session, made[::-1], 3)] == ids
    assert [case_of(case_id).state for case_id in ids] == ["confirmed"] * 3


def test_several_cases_are_decided_all_or_none(
    database: Database, open_case: OpenCase, case_of: CaseOf, decide: Decide
) -> None:
    first, second = open_case("a"), open_case("b")
    made = [Decision(case_id, case_of(case_id).version, "ada", "confirmed") for case_id in (first, second)]
    decide(second, "bob", "unsure")
    with pytest.raises(StaleError, match=f"case {second} has changed"), database.writing() as session:
        reviews.decide_cases(session, made, 2)
    assert case_of(first).state == "open"


# Undo


def test_an_undo_appends_and_the_case_is_open_for_the_same_person_again(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf
) -> None:
    case_id = open_case()
    decide(case_id, "ada", "confirmed", blind=True)
    version = case_of(case_id).version
    undo(database, case_id, "ada")
    assert (case_of(case_id).state, case_of(case_id).version, case_of(case_id).second) == ("open", version + 1, False)
    decide(case_id, "ada", "dismissed")
    assert rows(database, case_id) == [("ada", "confirmed"), ("ada", "undone"), ("ada", "dismissed")]
    with database.reading() as session:
        (first, undone, _) = session.scalars(select(Review).order_by(Review.id)).all()
        assert (undone.undoes, undone.blind) == (first.id, True)


def test_only_the_last_decision_is_undone_by_who_made_it_or_by_a_lead(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf
) -> None:
    case_id = open_case()
    decide(case_id, "ada", "unsure")
    decide(case_id, "bob", "confirmed")
    with pytest.raises(
        ConflictError, match=f"case {case_id} was called AI-generated by bob at .*: only they or a lead"
    ):
        undo(database, case_id, "ada")
    undo(database, case_id, "lee", lead=True)
    assert (case_of(case_id).state, case_of(case_id).second) == ("open", True)
    undo(database, case_id, "ada")
    assert case_of(case_id).second is False
    with pytest.raises(ConflictError, match=f"case {case_id} has no decision to undo: it is open"):
        undo(database, case_id, "ada")


def test_a_stale_undo_is_refused(database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf) -> None:
    case_id = open_case()
    seen = case_of(case_id).version
    decide(case_id, "ada")
    with pytest.raises(StaleError), database.writing() as session:
        reviews.undo_decision(session, case_id, seen, "ada")


def test_an_undo_is_refused_while_another_case_of_the_account_is_open(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf
) -> None:
    first = open_case()
    decide(first, "ada", "confirmed")
    second = open_case(photo=2)
    assert second != first
    with pytest.raises(
        ConflictError,
        match=f"case {first} cannot be reopened: decide case {second}, which is open for the same account",
    ):
        undo(database, first, "ada")
    assert case_of(first).state == "confirmed"
    assert rows(database, first) == [("ada", "confirmed")]


def test_an_undo_waits_for_whoever_looks_at_the_case(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    decide(case_id, "ada", "unsure")
    with database.writing() as session:
        case_queue.acquire_case(session, case_id, "bob", 600)
    with pytest.raises(HeldError):
        undo(database, case_id, "ada")


# Appeals


def test_an_appealed_case_is_open_and_decided_by_somebody_else(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf
) -> None:
    case_id = open_case()
    decide(case_id, "ada", "confirmed")
    appeal(database, case_id)
    assert (case_of(case_id).state, case_of(case_id).second) == ("open", False)
    with pytest.raises(SecondPersonError, match="called AI-generated by ada"):
        decide(case_id, "ada", "dismissed")
    with pytest.raises(ConflictError, match=f"case {case_id} has no decision to undo: lee appealed it"):
        undo(database, case_id, "ada")
    decide(case_id, "bob", "dismissed")
    assert case_of(case_id).state == "dismissed"
    undo(database, case_id, "bob")
    assert case_of(case_id).state == "open"


def test_what_was_said_before_an_appeal_does_not_count_towards_two(
    database: Database, open_case: OpenCase, decide: Decide, case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_TWO_PERSON_POLICIES", "default")
    case_id = open_case()
    decide(case_id, "ada")
    decide(case_id, "bob")
    appeal(database, case_id)
    decide(case_id, "cy")
    assert case_of(case_id).state == "open"


@pytest.mark.parametrize("state", ["open", "withdrawn"])
def test_only_a_decided_case_can_be_appealed(database: Database, open_case: OpenCase, state: str) -> None:
    case_id = open_case()
    with database.writing() as session:
        session.execute(update(Case).values(state=state))
    with pytest.raises(ConflictError, match=f"case {case_id} is {state}: only a decided case"):
        appeal(database, case_id)


def test_an_appeal_needs_a_reason(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    decide(case_id, "ada")
    with pytest.raises(DbError, match="an appeal needs a reason"):
        appeal(database, case_id, reason=" ")


def test_the_reason_of_an_appeal_goes_with_the_account(database: Database, open_case: OpenCase, decide: Decide) -> None:
    mine, other = open_case("ada"), open_case("bob")
    for case_id in (mine, other):
        decide(case_id, "pat")
        appeal(database, case_id)
    erasure.erase_account(database, "ada")
    with database.reading() as session:
        reasons = dict(session.execute(select(Appeal.case_id, Appeal.reason)).all())
    assert reasons == {mine: None, other: "a real photo, says its owner"}


def test_an_appealed_photo_is_scored_by_the_current_model_unless_it_was(
    database: Database, open_case: OpenCase, decide: Decide
) -> None:
    case_id = open_case()
    open_case(photo=2)
    decide(case_id, "ada")
    appeal(database, case_id)
    with database.reading() as session:
        assert session.scalars(select(Request)).all() == []
    decide(case_id, "bob")
    with database.writing() as session:  # another model is active by now
        session.execute(update(ModelVersion).values(state="retired"))
        session.add(ModelVersion(name="b", sha256="2" * 64, preprocess="p", card={}, state="active"))
    appeal(database, case_id)
    with database.writing() as session:
        asked = session.scalars(select(Request).order_by(Request.image_id)).all()
        assert [(row.kind, row.image_id, row.author) for row in asked] == [
            ("rescore", "account-1", "lee"), ("rescore", "account-2", "lee"),
        ]  # fmt: skip
        assert sorted(on_demand.take_due_requests(session, 10, 60)) == sorted(row.id for row in asked)
