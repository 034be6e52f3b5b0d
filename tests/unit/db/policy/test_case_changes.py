"""A threshold's change is shown first, and then does exactly what was shown: to open cases that nobody reviewed."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, text

from db.errors import ConflictError, DbError
from db.models import versions
from db.policy import case_changes, pauses, scores, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget, ChangeEffect
from db.policy.coverage import rule_for
from db.policy.scores import Provenance, Scored
from db.policy.threshold_choice import choose_by_value
from db.schema import Case, Flag, Image, Review, Threshold
from db.store.session import Database

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
SetThreshold = Callable[..., int]
AtOnce = Callable[[Sequence[Callable[[], Any]]], list[Any]]
CloseCase = Callable[[int, str], None]

ADA = ChangeAuthor("ada", "measured")
PLENTY = Budget(1000)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def accounts(add_images: AddImages, record: Record) -> dict[str, float]:
    """One account for each score, by its name; scored while no threshold stood."""
    found = {f"i{tenth}": tenth / 10 for tenth in range(10)}
    for image_id in found:
        add_images(image_id, account_id=image_id)
    record(found)
    return found


def shown(database: Database, version_id: int, value: float, policy: str = "default") -> ChangeEffect:
    with database.reading() as session:
        return case_changes.preview_changes(session, [rule_for(session, version_id, policy, value)])


def change(database: Database, version_id: int, value: float, policy: str = "default", budget: Budget = PLENTY) -> Any:
    with database.writing() as session:
        row = case_changes.set_threshold(session, version_id, policy, choose_by_value(None, value), ADA, budget)
        return row.opened, row.withdrawn


def cases_by_state(database: Database) -> dict[str, set[str | None]]:
    with database.reading() as session:
        found: dict[str, set[str | None]] = {}
        for case in session.scalars(select(Case)):
            found.setdefault(case.state, set()).add(case.account_id)
        return found


def review(database: Database, account: str, decision: str = "unsure") -> None:
    with database.writing() as session:
        case = session.scalars(select(Case).where(Case.account_id == account, Case.state == "open")).one()
        session.add(Review(case_id=case.id, reviewer="bo", decision=decision, blind=False))


@pytest.mark.usefixtures("accounts")
def test_a_first_threshold_opens_a_case_for_every_stored_score_from_it_on(database: Database, version_id: int) -> None:
    preview = shown(database, version_id, 0.7)
    assert [(line.account_id, line.photos, line.highest) for line in preview.opens] == [
        ("i9", 1, 0.9),
        ("i8", 1, 0.8),
        ("i7", 1, 0.7),
    ]
    assert (preview.closes, preview.added, preview.unscored) == ([], 0, 0)
    assert change(database, version_id, 0.7) == (3, 0)
    assert cases_by_state(database) == {"open": {"i7", "i8", "i9"}}
    with database.reading() as session:
        threshold = session.scalars(select(Threshold)).one()
        assert set(session.scalars(select(Flag.threshold_id))) == {threshold.id}


@pytest.mark.usefixtures("accounts")
def test_what_was_shown_is_what_is_done_downwards_and_upwards(database: Database, version_id: int) -> None:
    open_now: set[str | None] = set()
    for value in (0.7, 0.45, 0.85, 0.85, 0.0, 1.0):
        preview = shown(database, version_id, value)
        opens, closes = ({line.account_id for line in lines} for lines in (preview.opens, preview.closes))
        assert change(database, version_id, value) == (len(opens), len(closes))
        open_now = (open_now | opens) - closes
        assert cases_by_state(database).get("open", set()) == open_now
        assert open_now == {f"i{tenth}" for tenth in range(10) if tenth / 10 >= value}


@pytest.mark.usefixtures("accounts")
def test_the_same_threshold_again_changes_nothing(database: Database, version_id: int) -> None:
    change(database, version_id, 0.7)
    assert shown(database, version_id, 0.7) == ChangeEffect([], [], 0, 0)
    assert change(database, version_id, 0.7) == (0, 0)


@pytest.mark.usefixtures("accounts")
def test_a_withdrawn_case_says_by_whom_and_why(database: Database, version_id: int) -> None:
    change(database, version_id, 0.85)
    change(database, version_id, 0.95)
    with database.reading() as session:
        case = session.scalars(select(Case)).one()
        assert (case.state, case.reason, case.version) == ("withdrawn", "ada: measured (threshold 0.95)", 2)
    change(database, version_id, 0.85)
    assert cases_by_state(database) == {"withdrawn": {"i9"}, "open": {"i9"}}


@pytest.mark.usefixtures("accounts")
def test_cases_that_somebody_reviewed_are_never_touched(
    database: Database, version_id: int, close_case: CloseCase
) -> None:
    change(database, version_id, 0.65)
    review(database, "i7")
    with database.reading() as session:
        ids = {case.account_id: case.id for case in session.scalars(select(Case))}
    close_case(ids["i8"], "confirmed")
    close_case(ids["i9"], "dismissed")
    assert [line.account_id for line in shown(database, version_id, 0.99).closes] == []
    assert change(database, version_id, 0.99) == (0, 0)
    assert change(database, version_id, 0.65) == (0, 0)
    assert cases_by_state(database) == {"open": {"i7"}, "confirmed": {"i8"}, "dismissed": {"i9"}}


def test_photos_join_a_case_that_is_open_but_not_one_in_review(
    database: Database, version_id: int, add_images: AddImages, record: Record
) -> None:
    for account in ("a", "b"):
        add_images(f"{account}1", f"{account}2", account_id=account)
    record({"a1": 0.9, "a2": 0.6, "b1": 0.9, "b2": 0.6})
    change(database, version_id, 0.8)
    review(database, "b")
    preview = shown(database, version_id, 0.5)
    assert (preview.opens, preview.closes, preview.added) == ([], [], 1)
    assert change(database, version_id, 0.5) == (0, 0)
    with database.reading() as session:
        assert set(session.scalars(select(Flag.image_id))) == {"a1", "a2", "b1"}


def test_a_case_stays_while_one_of_its_photos_flags(
    database: Database, version_id: int, add_images: AddImages, record: Record
) -> None:
    add_images("a1", "a2", account_id="a")
    record({"a1": 0.9, "a2": 0.6})
    change(database, version_id, 0.5)
    assert shown(database, version_id, 0.8).closes == []
    assert change(database, version_id, 0.8) == (0, 0)
    assert change(database, version_id, 0.95) == (0, 1)


def test_a_case_whose_photos_the_model_has_not_scored_stays_and_is_counted(
    database: Database, version_id: int, add_images: AddImages, record: Record
) -> None:
    add_images("a")
    record({"a": 0.9})
    change(database, version_id, 0.5)
    with database.writing() as session:
        other = versions.register(session, "other", "2" * 64, "unmask-1", {}).id
    preview = shown(database, other, 0.95)
    assert (preview.closes, preview.unscored) == ([], 1)
    with database.writing() as session:
        rule = rule_for(session, other, "default", 0.95)
        assert case_changes.change_cases(session, [(rule, 0)], ChangeAuthor("pat")).withdrawn == 0


def test_default_covers_policies_without_a_threshold_of_their_own(
    database: Database, version_id: int, add_images: AddImages, record: Record
) -> None:
    for policy in ("default", "vip", "plain"):
        add_images(policy, account_id=policy, policy=policy)
        record({policy: 0.6}, policy=policy)
    assert change(database, version_id, 0.9, "vip") == (0, 0)
    assert [line.account_id for line in shown(database, version_id, 0.5).opens] == ["default", "plain"]
    assert change(database, version_id, 0.5) == (2, 0)
    assert cases_by_state(database) == {"open": {"default", "plain"}}
    assert change(database, version_id, 0.9, "plain") == (0, 1)
    assert cases_by_state(database) == {"open": {"default"}, "withdrawn": {"plain"}}


@pytest.mark.usefixtures("accounts")
def test_erased_accounts_open_no_case(database: Database, version_id: int) -> None:
    with database.writing() as session:
        session.get_one(Image, "i9").account_id = None
    assert change(database, version_id, 0.85) == (0, 0)


# The budget


@pytest.mark.usefixtures("accounts")
def test_a_flood_is_refused_until_its_number_is_repeated(database: Database, version_id: int) -> None:
    change(database, version_id, 0.85)
    with pytest.raises(ConflictError, match=r"open 4 cases and withdraw 0, over the budget of 3: .* --confirm 4$"):
        change(database, version_id, 0.45, budget=Budget(3))
    with pytest.raises(ConflictError, match=r"open 4 .* budget of 2, more than --confirm 3 accepts: .* --confirm 4$"):
        change(database, version_id, 0.45, budget=Budget(2, 3))
    assert cases_by_state(database) == {"open": {"i9"}}
    with database.reading() as session:
        assert [row.value for row in thresholds.list_thresholds(session, None, None, 9)] == [0.85]
    assert change(database, version_id, 0.45, budget=Budget(3, 5)) == (4, 0), "a live system's number moves"


@pytest.mark.usefixtures("accounts")
def test_withdrawing_many_is_a_flood_too(database: Database, version_id: int) -> None:
    change(database, version_id, 0.05)
    with pytest.raises(ConflictError, match="open 0 cases and withdraw 9, over the budget of 3"):
        change(database, version_id, 0.99, budget=Budget(3))


# Back, pauses, and others at the same time


@pytest.mark.usefixtures("accounts")
def test_a_rollback_is_a_new_row_that_restores_the_cases(database: Database, version_id: int) -> None:
    change(database, version_id, 0.75)
    change(database, version_id, 0.35)
    with database.writing() as session:
        row = case_changes.roll_back_threshold(session, version_id, "default", ChangeAuthor("bo"), PLENTY)
        assert (row.value, row.author, row.opened, row.withdrawn) == (0.75, "bo", 0, 4)
    assert cases_by_state(database)["open"] == {"i8", "i9"}
    with database.reading() as session:
        assert [row.value for row in thresholds.list_thresholds(session, version_id, "default", 9)] == [
            0.75,
            0.35,
            0.75,
        ]


@pytest.mark.usefixtures("accounts")
def test_a_paused_flagging_changes_no_case_until_what_stands_is_applied(database: Database, version_id: int) -> None:
    change(database, version_id, 0.85)
    with database.writing() as session:
        pauses.pause(session, "flagging", ADA)
    assert change(database, version_id, 0.65, budget=Budget(0)) == (0, 0)
    with pytest.raises(DbError, match="flagging is paused"), database.writing() as session:
        case_changes.apply_thresholds(session, version_id, ADA, PLENTY)
    with database.writing() as session:
        pauses.resume(session, "flagging", ADA)
        with pytest.raises(ConflictError, match="would open 2 cases"):
            case_changes.apply_thresholds(session, version_id, ADA, Budget(1))
        assert case_changes.apply_thresholds(session, version_id, ADA, PLENTY).opened == 2
    assert cases_by_state(database) == {"open": {"i7", "i8", "i9"}}


@pytest.mark.usefixtures("accounts")
def test_a_version_that_is_not_active_any_more_is_not_changed(database: Database, version_id: int) -> None:
    with database.writing() as session:
        other = versions.register(session, "other", "2" * 64, "unmask-1", {}).id
    with pytest.raises(ConflictError, match="another model version was promoted meanwhile"):
        change(database, other, 0.5)
    assert version_id != other


@pytest.mark.usefixtures("accounts")
def test_two_admins_at_once_leave_the_cases_of_the_threshold_that_stands(
    database: Database, version_id: int, at_once: AtOnce
) -> None:
    values = (0.75, 0.35, 0.85, 0.15)
    at_once([partial(change, database, version_id, value) for value in values])
    with database.reading() as session:
        (standing,) = thresholds.in_effect(session, version_id)
        assert sorted(row.value for row in thresholds.list_thresholds(session, None, None, 9)) == sorted(values)
    assert cases_by_state(database)["open"] == {f"i{tenth}" for tenth in range(10) if tenth / 10 >= standing.value}


def waits(database: Database) -> bool:
    """Whether somebody waits for a lock."""
    with database.reading() as session:
        return bool(session.scalar(text(WAITING)))


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)
def test_a_score_that_is_recorded_during_a_change_is_flagged_by_the_one_or_the_other(
    database: Database, version_id: int, add_images: AddImages, set_threshold: SetThreshold
) -> None:
    """A worker that records while the threshold falls: its score is seen by the change, or flagged by the new one."""
    set_threshold(0.9)
    add_images("a")
    inserted, changed = threading.Event(), threading.Event()

    def work() -> None:
        with database.writing() as session:
            made_by = Provenance(version_id, "eager", "cpu")
            scores.record(session, [Scored("a", "default", 0.6, "f" * 64, 1, 1, 1)], made_by)
            inserted.set()
            while not (changed.is_set() or waits(database)):  # the change must wait for us
                changed.wait(0.05)

    def lower() -> None:
        inserted.wait(30)
        change(database, version_id, 0.5)
        changed.set()

    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(work), pool.submit(lower)]:
            future.result(timeout=60)
    assert cases_by_state(database) == {"open": {"account"}}
