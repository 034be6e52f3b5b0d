"""Reference sets are scored once and kept as sorted scores; one name stands for one set of photos.

From reviews a set is what nobody takes for AI-generated, up to the first photo that is undecided.
"""

import random
from collections.abc import Callable

import pytest
from sqlalchemy import select

from db.errors import ConflictError, DbError, NotFoundError
from db.models import references, versions
from db.models.references import ReferenceOrigin, ReferenceScores, reference_from_reviews
from db.schema import Case, ModelVersion
from db.store.session import Database

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
SetThreshold = Callable[..., int]
CloseCase = Callable[[int, str], None]

CARD = {"reference": {"name": "card reals", "scores": [0.3, 0.1, 0.2]}}
PHOTOS = ReferenceOrigin("photos.csv", "a" * 64, "ada")


@pytest.fixture
def version(database: Database) -> ModelVersion:
    return register(database, "first", "1")


def register(database: Database, name: str, digit: str) -> ModelVersion:
    with database.writing() as session:
        versions.register(session, name, digit * 64, "unmask-1", CARD)
    with database.reading() as session:
        return versions.list_versions(session)[-1]


def add(
    database: Database, version: ModelVersion, name: str, scores: list[float], origin: ReferenceOrigin = PHOTOS
) -> None:
    with database.writing() as session:
        references.add_reference(session, version, name, scores, origin)


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
        (row,) = references.list_references(session, version.id)
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
    with pytest.raises(ConflictError, match=r"reference 'ours' already holds other photos \(photos.csv\)"):
        add(database, other, "ours", [0.4], ReferenceOrigin("more.csv", "b" * 64, "ada"))
    add(database, other, "ours", [0.4])
    with database.reading() as session:
        assert list(references.reals_of(session, other, "ours").scores) == [0.4]
        assert len(references.list_references(session)) == 2


def test_an_empty_set_measures_nothing_and_is_refused(database: Database, version: ModelVersion) -> None:
    with pytest.raises(DbError, match="reference 'none' has no photo that could be scored"):
        add(database, version, "none", [])


@pytest.fixture
def cases(
    database: Database, add_images: AddImages, record: Record, set_threshold: SetThreshold
) -> dict[str | None, int]:
    """Three photos below the threshold and three above, and the cases of those."""
    set_threshold(0.5)
    found = {"a": 0.1, "b": 0.9, "c": 0.2, "d": 0.8, "e": 0.7, "f": 0.3}
    for name, score in found.items():
        add_images(name, account_id=name)
        record({name: score})
    with database.reading() as session:
        return {case.account_id: case.id for case in session.scalars(select(Case))}


def built(database: Database, version_id: int) -> ReferenceScores:
    with database.reading() as session:
        return reference_from_reviews(session, session.get_one(ModelVersion, version_id), "ada")


def test_confirmed_photos_are_left_out_and_dismissed_ones_are_real(
    database: Database, version_id: int, cases: dict[str | None, int], close_case: CloseCase
) -> None:
    close_case(cases["b"], "confirmed")
    close_case(cases["d"], "dismissed")
    close_case(cases["e"], "dismissed")
    found = built(database, version_id)
    assert sorted(found.scores) == [0.1, 0.2, 0.3, 0.7, 0.8]
    assert found.origin.source == "reviews: 2 cases dismissed, 1 confirmed and left out"


def test_nothing_counts_from_the_first_undecided_photo_on(
    database: Database, version_id: int, cases: dict[str | None, int], close_case: CloseCase
) -> None:
    close_case(cases["b"], "dismissed")
    close_case(cases["e"], "dismissed")
    assert sorted(built(database, version_id).scores) == [0.1, 0.2, 0.9]


def test_without_a_dismissed_case_there_is_no_verdict(
    database: Database, version_id: int, cases: dict[str | None, int], close_case: CloseCase
) -> None:
    close_case(cases["b"], "confirmed")
    with pytest.raises(DbError, match="nobody has dismissed a case yet"):
        built(database, version_id)
