"""An account has one open case a policy, whatever is flagged in it; people close it."""

from collections.abc import Callable

import pytest
from sqlalchemy import select, update

from db.errors import NotFoundError
from db.review import cases
from db.review.cases import CaseSummary
from db.schema import Case, Flag, Image, Score, Threshold
from db.schema.clock import moment
from db.store.session import Database

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
SetThreshold = Callable[..., int]
CloseCase = Callable[[int, str], None]
pytestmark = pytest.mark.both  # databases can differ here


def listed(
    database: Database, state: str | None = None, policy: str | None = None, limit: int = 100
) -> list[CaseSummary]:
    with database.reading() as session:
        return cases.list_cases(session, state, policy, limit)


def test_many_photos_of_an_account_are_one_open_case(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    set_threshold(0.5)
    add_images("a", "b", "c", "real")
    add_images("d", account_id="other")
    record({"a": 0.9, "b": 0.7, "real": 0.1})
    record({"c": 0.8, "d": 0.6})
    found = [(line.case.account_id, line.case.state, line.photos, line.highest) for line in listed(database)]
    assert found == [("account", "open", 3, 0.9), ("other", "open", 1, 0.6)]


def test_each_policy_has_its_own_case(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    set_threshold(0.5)
    add_images("a")
    add_images("b", policy="vip")
    record({"a": 0.9})
    record({"b": 0.9}, policy="vip")
    assert [line.case.policy for line in listed(database)] == ["default", "vip"]
    assert [line.case.policy for line in listed(database, policy="vip")] == ["vip"]


def test_a_new_flag_counts_as_a_change_of_its_case(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    set_threshold(0.5)
    add_images("a", "b")
    record({"a": 0.9})
    with database.writing() as session:  # as if a minute lay between them
        session.execute(update(Case).values(changed_at=moment(-60)))
    (before,) = listed(database)
    record({"b": 0.9})
    (after,) = listed(database)
    assert after.case.version > before.case.version
    assert after.case.changed_at > before.case.changed_at
    assert after.case.created_at == before.case.created_at


@pytest.mark.parametrize("state", ["dismissed", "confirmed", "withdrawn"])
def test_a_new_photo_of_a_closed_case_opens_another_one(
    database: Database,
    add_images: AddImages,
    record: Record,
    set_threshold: SetThreshold,
    close_case: CloseCase,
    state: str,
) -> None:
    set_threshold(0.5)
    add_images("a", "b")
    record({"a": 0.9})
    (first,) = listed(database)
    close_case(first.case.id, state)
    record({"b": 0.9})
    assert [line.case.state for line in listed(database)] == [state, "open"]


@pytest.mark.parametrize(("state", "opens"), [("dismissed", False), ("withdrawn", True)])
def test_a_dismissed_image_does_not_open_a_case_again(
    database: Database,
    add_images: AddImages,
    record: Record,
    set_threshold: SetThreshold,
    close_case: CloseCase,
    state: str,
    opens: bool,
) -> None:
    threshold_id = set_threshold(0.5)
    add_images("a", "b")
    record({"a": 0.9})
    (first,) = listed(database)
    close_case(first.case.id, state)
    with database.writing() as session:
        score_id = session.scalars(select(Flag.score_id)).one()
        cases.raise_flags(session, [cases.NewFlag("a", score_id, threshold_id)])
    assert len(listed(database, state="open")) == int(opens)


def test_a_dismissed_image_does_not_keep_others_out_of_the_next_case(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold, close_case: CloseCase
) -> None:
    threshold_id = set_threshold(0.5)
    add_images("a", "b")
    record({"a": 0.9})
    (first,) = listed(database)
    close_case(first.case.id, "dismissed")
    with database.reading() as session:
        flag = session.scalars(select(Flag)).one()
    record({"b": 0.8})
    with database.writing() as session:
        cases.raise_flags(session, [cases.NewFlag("a", flag.score_id, threshold_id)])
    (line,) = listed(database, state="open")
    assert (line.photos, line.highest) == (1, 0.8)


def test_the_same_flag_twice_is_one_flag(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    threshold_id = set_threshold(0.5)
    add_images("a")
    record({"a": 0.9})
    with database.writing() as session:
        score_id = session.scalars(select(Flag.score_id)).one()
        cases.raise_flags(session, [cases.NewFlag("a", score_id, threshold_id)] * 2)
    assert [line.photos for line in listed(database)] == [1]


def test_no_flags_touch_no_case(database: Database) -> None:
    with database.writing() as session:
        cases.raise_flags(session, [])
    assert listed(database) == []


def test_cases_are_listed_the_oldest_first_by_state_and_bounded(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold, close_case: CloseCase
) -> None:
    set_threshold(0.5)
    for name in ("c", "a", "b"):
        add_images(name, account_id=name)
        record({name: 0.9})
    assert [line.case.account_id for line in listed(database)] == ["c", "a", "b"]
    assert [line.case.account_id for line in listed(database, limit=2)] == ["c", "a"]
    close_case(listed(database)[1].case.id, "confirmed")
    assert [line.case.account_id for line in listed(database, state="open")] == ["c", "b"]
    assert [line.case.account_id for line in listed(database, state="confirmed")] == ["a"]


def test_a_case_without_flags_is_listed_too(database: Database) -> None:
    with database.writing() as session:
        session.add(Case(account_id="acc", policy="default"))
    assert [(line.photos, line.highest) for line in listed(database)] == [(0, 0.0)]


def test_a_case_shows_its_photos_the_highest_score_first_with_their_thresholds(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    set_threshold(0.5)
    add_images("a", "b", "c")
    record({"a": 0.7, "b": 0.9})
    set_threshold(0.55)
    record({"c": 0.8})
    (line,) = listed(database)
    with database.reading() as session:
        case, flags = cases.get_case(session, line.case.id), cases.flagged_photos(session, line.case.id)
        found = [(flag.image.id, flag.score.score, flag.threshold.value if flag.threshold else None) for flag in flags]
    assert case.account_id == "account"
    assert found == [("b", 0.9, 0.5), ("c", 0.8, 0.55), ("a", 0.7, 0.5)]


def test_a_case_that_is_not_there_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError, match="case 4711 does not exist"), database.reading() as session:
        cases.get_case(session, 4711)


# Pages and search


def test_pages_go_on_after_the_last_case_in_either_order(database: Database, open_case: Callable[..., int]) -> None:
    ids = [open_case(f"account {number}", score) for number, score in enumerate((0.7, 0.9, 0.7, 0.8, 0.6))]

    def pages(order: cases.Order, state: str | None) -> list[list[int]]:
        found, after = [], None
        with database.reading() as session:
            while page := cases.list_cases(session, state, None, 2, order=order, after=after):
                found.append([line.case.id for line in page])
                after = page[-1].case.id
        return found

    with database.writing() as session:  # two of one moment
        second = select(Case.created_at).where(Case.id == ids[1]).scalar_subquery()
        session.execute(update(Case).where(Case.id == ids[2]).values(created_at=second))
    a, b, c, d, e = ids
    for state in ("open", None):
        assert pages("age", state) == [[a, b], [c, d], [e]]
        assert pages("score", state) == [[b, d], [c, a], [e]]


def test_pages_of_all_states_are_in_one_order(
    database: Database, open_case: Callable[..., int], close_case: CloseCase
) -> None:
    a, b, c = (open_case(f"account {number}", score) for number, score in enumerate((0.7, 0.9, 0.8)))
    close_case(b, "dismissed")
    with database.reading() as session:
        assert [line.case.id for line in cases.list_cases(session, None, None, 9)] == [a, b, c]
        assert [line.case.id for line in cases.list_cases(session, None, None, 9, order="score")] == [b, c, a]


def test_accounts_are_found_by_how_they_begin(database: Database, open_case: Callable[..., int]) -> None:
    for account in ("ada", "ada lovelace", "Ada", "bob", "a%", "a_b"):
        open_case(account)
    first = open_case("ada")

    def found(prefix: str, limit: int = 10) -> list[str | None]:
        with database.reading() as session:
            return [line.case.account_id for line in cases.search_cases(session, prefix, limit)]

    assert found("ada") == ["ada", "ada lovelace"]
    assert found("ada", limit=1) == ["ada"]
    assert found("a%") == ["a%"]
    assert found("a_") == ["a_b"]
    assert found("z") == []
    with database.reading() as session:
        assert cases.search_cases(session, "ada", 1)[0].case.id == first


def test_an_older_case_of_an_account_is_found_after_its_latest(
    database: Database, open_case: Callable[..., int], close_case: CloseCase
) -> None:
    first = open_case("ada")
    close_case(first, "confirmed")
    second = open_case("ada", photo=2)
    with database.reading() as session:
        assert [line.case.id for line in cases.search_cases(session, "ada", 10)] == [second, first]


def test_the_highest_score_follows_whoever_flags(
    database: Database, open_case: Callable[..., int], version_id: int
) -> None:
    case_id = open_case("ada", 0.6)
    with database.writing() as session:  # as another language might, or a threshold that is applied
        threshold_id = session.scalars(select(Threshold.id)).one()
        for name, score in (("x", 0.9), ("y", 0.7)):
            session.add(Image(id=name, account_id="ada", url=f"{name}.jpg"))
            made = Score(image_id=name, version_id=version_id, score=score, engine="e", device="d")
            session.add(made)
            session.flush()
            session.add(Flag(case_id=case_id, image_id=name, score_id=made.id, threshold_id=threshold_id))
            session.flush()
    assert [line.highest for line in listed(database)] == [0.9]
