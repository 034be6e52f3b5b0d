"""Checkpoints are registered once, under one name; the first scores."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from db.errors import ConflictError, NotFoundError
from db.models import versions
from db.store.session import Database


def register(database: Database, name: str, sha256: str) -> int:
    with database.writing() as session:
        return versions.register(session, name, sha256, "unmask-1", {"name": name, "limits": [1, 2.5, None]}).id


def states(database: Database) -> list[tuple[str, str]]:
    with database.reading() as session:
        return [(version.name, version.state) for version in versions.list_versions(session)]


def test_the_first_version_is_active_and_the_next_are_candidates(database: Database) -> None:
    first = register(database, "first", "1" * 64)
    register(database, "second", "2" * 64)
    register(database, "third", "3" * 64)
    assert states(database) == [("first", "active"), ("second", "candidate"), ("third", "candidate")]
    with database.reading() as session:
        assert versions.active(session).id == first


def test_the_same_file_again_is_the_same_version_under_its_first_name(database: Database) -> None:
    first = register(database, "first", "1" * 64)
    assert register(database, "first", "1" * 64) == first
    assert register(database, "renamed", "1" * 64) == first
    assert states(database) == [("first", "active")]


def test_another_file_needs_another_name(database: Database) -> None:
    register(database, "first", "1" * 64)
    with pytest.raises(ConflictError, match="'first' is another file: give this one another --name"):
        register(database, "first", "2" * 64)
    assert states(database) == [("first", "active")]


def test_a_card_comes_back_as_it_was(database: Database) -> None:
    register(database, "first", "1" * 64)
    with database.reading() as session:
        version = versions.active(session)
        assert version.card == {"name": "first", "limits": [1, 2.5, None]}
        assert version.preprocess == "unmask-1"


def test_without_a_version_the_error_says_how_to_get_one(database: Database) -> None:
    with database.reading() as session:
        assert versions.find_active(session) is None
        with pytest.raises(NotFoundError, match="run `unmask model register CHECKPOINT`"):
            versions.active(session)


def test_versions_that_are_registered_at_once_leave_one_active(
    database: Database, at_once: Callable[[Sequence[Callable[[], Any]]], list[Any]]
) -> None:
    """One may be refused, and can be tried again; two that score would be a lie about every score."""

    def try_to_register(number: int) -> bool:
        try:
            register(database, f"model {number}", f"{number}" * 64)
        except Exception:  # noqa: BLE001 - whatever it is, the other stands
            return False
        return True

    done = at_once([lambda: try_to_register(1), lambda: try_to_register(2)])
    assert any(done)
    assert [state for _, state in states(database)].count("active") == 1
