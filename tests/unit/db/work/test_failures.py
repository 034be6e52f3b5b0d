"""Failures are found by their reason, tried again when somebody says so, and dropped without being forgotten."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from db.commands.failures import failures_group
from db.errors import NotFoundError
from db.schema import Image
from db.schema.clock import moment
from db.store.session import Database
from db.work import failures, images, outbox
from db.work.images import Failure
from db.work.outbox import Lane, ResendBackoff

AddImages = Callable[..., list[str]]
ImageOf = Callable[[str], Image]


@pytest.fixture(autouse=True)
def _settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_ACTOR", "ada")


@pytest.fixture
def failed(database: Database, add_images: AddImages) -> None:
    """Two that timed out for good, one that is broken, one that is tried again, and one that waits."""
    add_images("a", "b", "broken", "again", "waits")
    with database.writing() as session:
        images.lease(session, ["a", "b", "broken", "again"], "worker", 300)
        given_up = [Failure("a", "timeout", ""), Failure("b", "timeout", ""), Failure("broken", "not_found", "half")]
        images.record_failures(
            session, [*given_up, Failure("again", "http_status", "HTTP 503", retry_s=60.0)], "worker"
        )


def run(*arguments: str) -> Result:
    return CliRunner().invoke(failures_group, arguments, catch_exceptions=False)


def asked(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def listed(*arguments: str) -> set[str]:
    return {row["image"] for row in asked("list", *arguments)}


@pytest.mark.usefixtures("failed")
def test_what_was_given_up_is_listed_and_what_is_tried_again_when_asked_for() -> None:
    assert listed() == {"a", "b", "broken"}
    assert listed("--state", "retrying") == {"again"}


@pytest.mark.usefixtures("failed")
def test_failures_are_listed_the_latest_first_and_bounded(database: Database) -> None:
    with database.writing() as session:
        for age_s, name in ((30.0, "b"), (20.0, "broken"), (10.0, "a")):
            session.execute(update(Image).where(Image.id == name).values(changed_at=moment(-age_s)))
    assert [row["image"] for row in asked("list", "--limit", "2")] == ["a", "broken"]


@pytest.mark.usefixtures("failed")
def test_failures_are_counted_by_reason(database: Database) -> None:
    with database.reading() as session:
        assert list(failures.count_by_reason(session).items()) == [("timeout", 2), ("not_found", 1)]
        assert failures.count_by_reason(session, "retrying") == {"http_status": 1}


@pytest.mark.usefixtures("failed")
def test_one_image_is_shown_with_why_and_what_comes_next() -> None:
    shown = asked("show", "again")
    assert (shown["state"], shown["reason"], shown["detail"]) == ("pending", "http_status", "HTTP 503")
    assert (shown["attempts"], shown["losses"]) == (1, 0)
    assert shown["next_attempt_at"] is not None
    assert asked("show", "broken")["next_attempt_at"] is None
    assert "not_found" in run("show", "broken").stdout
    with pytest.raises(NotFoundError, match="image 'nobody' is not in the record"):
        run("show", "nobody")


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(("a", "broken"), {"a", "broken"}), (("--reason", "timeout"), {"a", "b"}), (("--all",), {"a", "b", "broken"})],
)
def test_failures_are_tried_again_with_all_their_attempts(
    database: Database, image_of: ImageOf, arguments: tuple[str, ...], expected: set[str]
) -> None:
    assert {row["image"] for row in asked("retry", *arguments)} == expected
    for image_id in expected:
        assert (image_of(image_id).state, image_of(image_id).attempts) == ("pending", 0)
    with database.writing() as session:
        assert expected <= {
            i for lane in Lane for i in outbox.take_due_images(session, lane, 100, ResendBackoff(60, 60)).ids
        }
        assert {job.image_id for job in images.lease(session, expected, "worker", 300)} == expected


def test_unusable_photos_are_listed_apart_and_tried_again_by_their_reason(
    database: Database, add_images: AddImages, image_of: ImageOf
) -> None:
    """Whoever raises a limit tries again what was above it."""
    add_images("junk", "huge", "dropped")
    with database.writing() as session:
        images.lease(session, ["junk", "huge", "dropped"], "worker", 300)
        found = [
            Failure("junk", "not_an_image", ""),
            Failure("huge", "too_many_bytes", ""),
            Failure("dropped", "timeout", ""),
        ]
        images.record_failures(session, found, "worker")
    asked("drop", "dropped")
    assert listed() == set()
    assert listed("--state", "unusable") == {"junk", "huge", "dropped"}
    assert asked("retry", "--all") == asked("retry", "--reason", "timeout") == []
    assert [row["image"] for row in asked("retry", "--reason", "too_many_bytes")] == ["huge"]
    assert image_of("huge").state == "pending"


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("word", ["retry", "drop"])
def test_a_reason_that_does_not_exist_is_refused_with_those_that_do(word: str) -> None:
    with pytest.raises(NotFoundError, match="reason 'typo' is unknown; reasons on record: not_found, timeout"):
        run(word, "--reason", "typo")


def test_what_lost_its_workers_is_still_suspect_when_it_is_tried_again(
    database: Database, add_images: AddImages
) -> None:
    add_images("poison")
    with database.writing() as session:
        for _ in range(4):
            images.lease(session, ["poison"], "worker", -1)
        outbox.fail_lost_images(session, 3, 0)
    asked("retry", "poison")
    with database.writing() as session:
        (job,) = images.lease(session, ["poison"], "worker", 300)
    assert (job.losses, job.tries) == (1, 1)


@pytest.mark.usefixtures("failed")
def test_a_dropped_image_leaves_the_list_and_keeps_its_row_its_reason_and_who_dropped_it(
    database: Database, image_of: ImageOf
) -> None:
    assert [row["image"] for row in asked("drop", "--reason", "not_found")] == ["broken"]
    assert listed() == {"a", "b"}
    image = image_of("broken")
    assert (image.state, image.reason, image.detail) == ("unusable", "not_found", "dropped by ada: half")
    with database.reading() as session:
        assert images.count_images(session)["unusable"] == 1
    asked("retry", "--all")
    assert image_of("broken").state == "unusable"
    asked("retry", "broken")
    assert image_of("broken").state == "pending"


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("word", ["retry", "drop"])
def test_what_has_not_failed_is_left_alone_and_said_to_be(word: str, image_of: ImageOf) -> None:
    result = run(word, "a", "waits", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 images" in result.stderr
    assert "left unchanged, since they are not failures, or odd rows: nobody, waits" in result.stderr
    assert image_of("waits").state == "pending"


@pytest.mark.usefixtures("failed")
@pytest.mark.parametrize("arguments", [(), ("a", "--reason", "timeout")])
@pytest.mark.parametrize("word", ["retry", "drop"])
def test_which_failures_must_be_said_in_one_way(word: str, arguments: tuple[str, ...]) -> None:
    result = run(word, *arguments)
    assert result.exit_code == 2
    assert "choose images in one way" in result.stderr
    assert listed() == {"a", "b", "broken"}
