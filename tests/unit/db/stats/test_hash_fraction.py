"""A draw depends on the name alone, and stays what it was in every release: splits and samples rest on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.stats.hash_fraction import hash_fraction


@pytest.mark.parametrize(
    ("key", "fraction"), [(b"", 0.8894159949), (b"group-1", 0.8827889910), (b"1 ada", 0.0137013036)]
)
def test_known_names_keep_their_place(key: bytes, fraction: float) -> None:
    assert hash_fraction(key) == pytest.approx(fraction, abs=1e-10)


@given(st.binary())
def test_it_is_a_share_below_one(key: bytes) -> None:
    assert 0 <= hash_fraction(key) < 1
