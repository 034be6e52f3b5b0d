"""Reference sets are scored once and kept as sorted scores; one name stands for one set of photos."""

import random

import pytest

from db.models import references, versions
from db.errors import ConflictError, DbError, NotFoundError
from db.models.references import Origin
from db.schema import ModelVersion
from db.store.session import Database

CARD = {"reference": {"name": "card reals", "scores": [0.3, 0.1, 0.2]}}
PHOTOS = Origin("photos.csv", "a" * 64, "ada")


@pytest.fixture
def version(database: Database) -> ModelVersion:
    return register(database, "first", "1")


def register(database: Database, name: str, digit: str) -> ModelVersion:
    with database.writing() as session:
        versions.register(session, name, digit * 64, "unmask-1", CARD)
    with database.reading() as session:
        return versions.list_versions(session)[-1]


def add(database: Database, version: ModelVersion, name: str, scores: list[float], origin: Origin = PHOTOS) -> None:
    with database.writing() as session:
        references.add(session, version, name, scores, origin)


def test_the_reals_of_the_card_are_there_from_the_start_and_by_their_name(
    database: Database, version: ModelVersion
) -> None:
    with database.reading() as session:
        for name in (None, "card reals"):
            found = references.reals_of(session, version, name)
            assert (found.name, list(found.scores)) == ("card reals", [0.1, 0.2, 0.3])


def test_a_set_comes_back_sorted_and_bit_for_bit_however_large(database: Database, version: ModelVersion) -> None:
    draw = random.Random(0)  # noqa: S311 - no secret
    scores = [draw.random() for _ in range(100_000)]
    add(database, version, "large", scores)
    with database.reading() as session:
        assert list(references.reals_of(session, version, "large").scores) == sorted(scores)
        (row,) = references.list_sets(session, version.id)
    assert (row.reals, row.source, row.author) == (100_000, "photos.csv", "ada")
    assert len(row.scores) < 1_000_000


def test_a_set_that_is_not_there_is_refused_with_those_that_are(database: Database, version: ModelVersion) -> None:
    add(database, version, "ours", [0.5])
    with (
        pytest.raises(NotFoundError, match="model first has no reference 'theirs'; it has card reals, ours"),
        database.reading() as session,
    ):
        references.reals_of(session, version, "theirs")


def test_a_card_without_reals_says_so(database: Database) -> None:
    with database.writing() as session:
        bare = versions.register(session, "bare", "2" * 64, "unmask-1", {"reference": None})
        with pytest.raises(NotFoundError, match="model bare has no reference reals in its card; it has none"):
            references.reals_of(session, bare)


@pytest.mark.parametrize("name", ["ours", "card reals"])
def test_a_name_is_given_once(database: Database, version: ModelVersion, name: str) -> None:
    add(database, version, "ours", [0.5])
    with pytest.raises(ConflictError, match=f"reference '{name}'"):
        add(database, version, name, [0.6])


def test_under_another_version_a_name_stands_for_the_same_photos(database: Database, version: ModelVersion) -> None:
    add(database, version, "ours", [0.5])
    other = register(database, "other", "2")
    with pytest.raises(ConflictError, match=r"reference 'ours' stands for other photos \(photos.csv\)"):
        add(database, other, "ours", [0.4], Origin("more.csv", "b" * 64, "ada"))
    add(database, other, "ours", [0.4])
    with database.reading() as session:
        assert list(references.reals_of(session, other, "ours").scores) == [0.4]
        assert len(references.list_sets(session)) == 2


def test_an_empty_set_measures_nothing_and_is_refused(database: Database, version: ModelVersion) -> None:
    with pytest.raises(DbError, match="reference 'none' has no photo that could be scored"):
        add(database, version, "none", [])
