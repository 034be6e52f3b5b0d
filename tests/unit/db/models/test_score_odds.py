"""A score is said as how few real photos look like this, on which photos, and no more than they can show."""

import pytest

from db.models.references import ReferenceOrigin, add_reference
from db.models.score_odds import OddsReader, ScoreOdds, odds_among
from db.schema import ModelVersion
from db.stats.empirical_fpr import RealScores
from db.store.session import Database

REALS = RealScores("faces", [0.1, 0.2, 0.5, 0.9])


@pytest.mark.parametrize(
    ("score", "n", "words"),
    [
        (0.9, 4, "1 in 4 real photos looks like this (1 of the 4 of 'faces'; 95 % sure: at most 1 in 1.3)"),
        (0.5, 2, "1 in 2 real photos looks like this (2 of the 4 of 'faces'; 95 % sure: at most 1 in 1.1)"),
        (0.91, 4, "fewer than 1 in 1.8 real photos looks like this (95 % sure; none of the 4 of 'faces')"),
        (0.1, 1, "every real photo looks like this (all 4 of 'faces')"),
    ],
)
def test_one_in_so_many_real_photos_looks_like_this(score: float, n: float, words: str) -> None:
    odds = odds_among(REALS, score)
    assert (odds.one_in, odds.words) == (n, words)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (3, "1 in 1,687 real photos looks like this (3 of the 5,061 of 'reals'; 95 % sure: at most 1 in 653)"),
        (0, "fewer than 1 in 1,689 real photos looks like this (95 % sure; none of the 5,061 of 'reals')"),
        (2500, "1 in 2 real photos looks like this (2,500 of the 5,061 of 'reals'; 95 % sure: at most 1 in 1.9)"),
    ],
)
def test_what_is_sure_of_a_rarity_is_said_beside_what_was_counted(found: int, words: str) -> None:
    assert ScoreOdds("reals", 5061, found).words == words


def test_where_no_real_photo_is_as_extreme_the_bound_is_that_of_a_certificate() -> None:
    """598 photos, none of them flagged, certify 0.5 %: the bound says at most 1 in 200."""
    assert ScoreOdds("reals", 598, 0).one_in_at_least == pytest.approx(200, abs=0.5)


@pytest.fixture
def version(database: Database, version_id: int) -> str:
    with database.writing() as session:
        row = session.get_one(ModelVersion, version_id)
        row.card = {"reference": {"name": "card", "scores": [0.9, 0.1]}}
        add_reference(session, row, "ours", [0.3, 0.1, 0.2], ReferenceOrigin("a test", "0" * 64, "ada"))
        return row.name


@pytest.mark.both
@pytest.mark.parametrize(
    ("reference", "used", "n"), [("ours", "ours", 3), ("card", "card", 2), (None, "card", 2), ("gone", "card", 2)]
)
def test_a_named_set_is_used_where_there_is_one_and_else_the_card_s(
    database: Database, version: str, reference: str | None, used: str, n: float
) -> None:
    with database.reading() as session:
        odds = OddsReader().find(session, version, reference, 0.35)
    assert odds is not None
    assert (odds.reference, odds.one_in) == (used, n)


def test_without_real_photos_nothing_is_said(database: Database, version_id: int) -> None:
    with database.reading() as session:
        name = session.get_one(ModelVersion, version_id).name
        assert OddsReader().find(session, name, None, 0.5) is None
        assert OddsReader().find(session, "unknown", None, 0.5) is None
