"""From reviews a reference set is what nobody takes for AI-generated, up to the first photo that is undecided."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from db.errors import DbError
from db.models.references import Built
from db.models.reviewed import reviewed
from db.schema import Case, ModelVersion
from db.store.session import Database

AddImages = Callable[..., list[str]]
Record = Callable[..., list[str]]
SetThreshold = Callable[..., int]
CloseCase = Callable[[int, str], None]


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


def built(database: Database, version_id: int) -> Built:
    with database.reading() as session:
        return reviewed(session, session.get_one(ModelVersion, version_id), "ada")


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
