"""Scores are written once, all of a batch or none, and flag from their policy's threshold on."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from db.errors import DatabaseError
from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.schema import Case, Flag, Image, Score
from db.store.session import Database
from db.work import images
from db.work.images import NewImage

AddImages = Callable[..., list[str]]
ImageOf = Callable[[str], Image]
Record = Callable[..., list[str]]
SetThreshold = Callable[..., int]
AtOnce = Callable[[Sequence[Callable[[], Any]]], list[Any]]
pytestmark = pytest.mark.both  # databases can differ here


def scores_of(session: Session, image_id: str) -> list[Score]:
    """Every score of an image, the latest first."""
    return list(session.scalars(select(Score).where(Score.image_id == image_id).order_by(Score.id.desc())))


def scored(image_id: str, score: float = 0.1, policy: str = "default") -> Scored:
    return Scored(image_id, policy, score, "f" * 64, 1000, 640, 480)


def count(database: Database, table: type[Any]) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def flagged(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Flag.image_id)))


def test_a_score_is_recorded_with_what_made_it_and_the_file_it_came_from(
    database: Database, version_id: int, add_images: AddImages, image_of: ImageOf
) -> None:
    add_images("a")
    with database.writing() as session:
        images.lease(session, ["a"], "worker", 300)
        scores.record(session, [scored("a", 0.25)], Provenance(version_id, "eager-fp32", "cuda:0"))
    with database.reading() as session:
        (score,) = scores_of(session, "a")
    assert (score.score, score.version_id, score.engine, score.device) == (0.25, version_id, "eager-fp32", "cuda:0")
    image = image_of("a")
    assert (image.state, image.lease_owner, image.lease_until) == ("scored", None, None)
    assert (image.sha256, image.bytes, image.width, image.height) == ("f" * 64, 1000, 640, 480)


def test_recording_again_changes_nothing_and_raises_nothing(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold, image_of: ImageOf
) -> None:
    add_images("a", "b")
    set_threshold(0.5)
    assert record({"a": 0.9}) == ["a"]
    changed_at = image_of("a").changed_at
    assert record({"a": 0.1, "b": 0.2}) == ["b"]
    assert record({"a": 0.9, "b": 0.9}) == []
    with database.reading() as session:
        assert dict(session.execute(select(Score.image_id, Score.score)).all()) == {"a": 0.9, "b": 0.2}
    assert image_of("a").changed_at == changed_at
    assert flagged(database) == {"a"}


def test_another_version_may_score_the_same_image(database: Database, add_images: AddImages, record: Record) -> None:
    add_images("a")
    record({"a": 0.3})
    with database.writing() as session:
        other = versions.register(session, "second", "2" * 64, "unmask-1", {})
        assert scores.record(session, [scored("a", 0.7)], Provenance(other.id, "eager-fp32", "cpu")) == ["a"]
        assert [score.score for score in scores_of(session, "a")] == [0.7, 0.3]


def test_a_late_score_is_better_than_a_failure(
    database: Database, add_images: AddImages, record: Record, image_of: ImageOf
) -> None:
    add_images("a")
    with database.writing() as session:
        images.lease(session, ["a"], "worker", 300)
        images.record_failures(session, [images.Failure("a", "timeout", "no answer")], "worker")
    record({"a": 0.5})
    assert (image_of("a").state, image_of("a").reason, image_of("a").detail) == ("scored", None, None)


def test_nothing_to_record_is_nothing(record: Record) -> None:
    assert record({}) == []


# One transaction


def test_a_batch_that_fails_at_its_flags_writes_no_score_and_lets_go_of_no_image(fresh_database: Database) -> None:
    with fresh_database.writing() as session:
        version = versions.register(session, "m", "1" * 64, "unmask-1", {}).id
        thresholds.set_value(session, version, "default", 0.5, "test", "")
        images.add_images(session, [NewImage("a", "acc", "a.jpg"), NewImage("b", "acc", "b.jpg")], 60)
        images.lease(session, ["a", "b"], "worker", 300)
        session.execute(text("ALTER TABLE cases RENAME TO cases_away"))
    with pytest.raises(DatabaseError, match="cases"), fresh_database.writing() as session:
        scores.record(session, [scored("a", 0.9), scored("b", 0.1)], Provenance(version, "eager", "cpu"))
    assert count(fresh_database, Score) == 0
    with fresh_database.reading() as session:
        assert sum(images.count_leases(session).values()) == 2


@pytest.mark.parametrize("bad", [scored("unknown"), scored("b", 1.5)], ids=["unknown image", "no score"])
def test_a_batch_with_a_score_that_the_database_refuses_writes_none(
    database: Database, version_id: int, add_images: AddImages, image_of: ImageOf, bad: Scored
) -> None:
    add_images("a", "b")
    with pytest.raises(DatabaseError), database.writing() as session:
        scores.record(session, [scored("a"), bad], Provenance(version_id, "eager", "cpu"))
    assert count(database, Score) == 0
    assert image_of("a").state == "pending"


def test_writers_that_race_on_the_same_images_make_one_score_each_and_one_case(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold, at_once: AtOnce
) -> None:
    set_threshold(0.5)
    for turn in range(3):
        ids = [f"{turn}-{number:02}" for number in range(20)]
        add_images(*ids, account_id=f"account {turn}")
        forwards, backwards = dict.fromkeys(ids, 0.9), dict.fromkeys(reversed(ids), 0.8)
        got = at_once([partial(record, found) for found in (forwards, backwards, forwards)])
        assert sorted(image_id for new in got for image_id in new) == ids
    assert count(database, Score) == count(database, Flag) == 60
    assert count(database, Case) == 3


def test_writers_that_race_on_different_photos_of_one_account_open_one_case(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold, at_once: AtOnce
) -> None:
    set_threshold(0.5)
    for turn in range(3):
        ids = [f"{turn}-{number}" for number in range(3)]
        add_images(*ids, account_id=f"account {turn}")
        at_once([partial(record, {image_id: 0.9}) for image_id in ids])
    assert count(database, Flag) == 9
    assert count(database, Case) == 3


def test_a_batch_without_flags_takes_three_statements(
    database: Database, version_id: int, add_images: AddImages, statements: Callable[[Session], list[Any]]
) -> None:
    ids = [f"{number}" for number in range(100)]
    add_images(*ids)
    with database.writing() as session:
        heard = statements(session)
        scores.record(session, [scored(image_id) for image_id in ids], Provenance(version_id, "eager", "cpu"))
        assert 1 <= len(heard) <= 3, [statement for statement, _ in heard]
    assert count(database, Score) == 100


def test_flags_take_three_statements_more_however_many_they_are(
    database: Database,
    version_id: int,
    add_images: AddImages,
    set_threshold: SetThreshold,
    statements: Callable[[Session], list[Any]],
) -> None:
    set_threshold(0.5)
    for account in range(50):
        add_images(f"{account}", f"{account + 50}", account_id=f"account {account}")
    with database.writing() as session:
        heard = statements(session)
        batch = [scored(f"{number}", 0.9) for number in range(100)]
        scores.record(session, batch, Provenance(version_id, "eager", "cpu"))
        assert len(heard) <= 6, [statement for statement, _ in heard]
    assert (count(database, Flag), count(database, Case)) == (100, 50)


def test_the_fifteenth_flag_on_a_connection_is_written_like_the_first(
    add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    """PostgreSQL's driver prepares what it has seen five times; a prepared upsert once lost its partial index."""
    set_threshold(0.5)
    for number in range(15):
        add_images(f"{number}", account_id=f"account {number % 3}")
        assert record({f"{number}": 0.9}) == [f"{number}"]


# Flags


@pytest.mark.parametrize(
    ("score", "threshold", "flags"),
    [(0.5, 0.5, True), (0.500001, 0.5, True), (0.499999, 0.5, False), (0.0, 0.0, True), (1.0, 1.0, True)],
)
def test_a_score_flags_at_its_threshold_and_above_and_nowhere_below(
    database: Database,
    add_images: AddImages,
    record: Record,
    set_threshold: SetThreshold,
    score: float,
    threshold: float,
    flags: bool,
) -> None:
    add_images("a")
    set_threshold(threshold)
    record({"a": score})
    assert flagged(database) == ({"a"} if flags else set())


@pytest.mark.parametrize(
    ("limits", "policy", "flags"),
    [
        ({}, "default", False),
        ({"default": 0.5}, "default", True),
        ({"default": 0.5}, "vip", True),
        ({"default": 0.5, "vip": 0.9}, "vip", False),
        ({"default": 0.9, "vip": 0.5}, "vip", True),
        ({"vip": 0.5}, "default", False),
        ({"vip": 0.5}, "vip", True),
    ],
)
def test_a_policy_flags_by_its_own_threshold_or_else_by_the_defaults(
    database: Database,
    add_images: AddImages,
    record: Record,
    set_threshold: SetThreshold,
    limits: dict[str, float],
    policy: str,
    flags: bool,
) -> None:
    add_images("a", policy=policy)
    for name, value in limits.items():
        set_threshold(value, name)
    record({"a": 0.7}, policy=policy)
    assert flagged(database) == ({"a"} if flags else set())


def test_another_versions_threshold_flags_nothing(database: Database, add_images: AddImages, record: Record) -> None:
    add_images("a")
    with database.writing() as session:
        other = versions.register(session, "other", "2" * 64, "unmask-1", {})
        thresholds.set_value(session, other.id, "default", 0.5, "test", "")
    record({"a": 0.9})
    assert flagged(database) == set()


def test_a_flag_names_its_score_and_its_threshold(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    add_images("a")
    set_threshold(0.9)
    latest = set_threshold(0.5)
    record({"a": 0.7})
    with database.reading() as session:
        (flag,) = session.scalars(select(Flag))
        assert flag.threshold_id == latest
        assert session.get_one(Score, flag.score_id).score == 0.7
        assert session.get_one(Case, flag.case_id).account_id == "account"


def test_a_change_of_thresholds_does_not_reach_back(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    add_images("a", "b")
    set_threshold(0.9)
    record({"a": 0.7})
    set_threshold(0.5)
    record({"a": 0.7, "b": 0.7})
    assert flagged(database) == {"b"}


def test_an_erased_account_raises_no_flag_and_keeps_its_anonymous_score(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> None:
    add_images("a")
    set_threshold(0.5)
    with database.writing() as session:
        session.execute(update(Image).values(account_id=None, url=None))
    record({"a": 0.9})
    assert (count(database, Case), count(database, Flag), count(database, Score)) == (0, 0, 1)
