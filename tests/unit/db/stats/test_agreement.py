"""Kappa against scikit-learn, a published example, and what it must be at its ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from db.stats.agreement import cohen_kappa, fleiss_kappa

words = st.sampled_from(["fake", "real", "unsure"])
#: Fleiss (1971), as Wikipedia's "Fleiss' kappa" repeats it: fourteen people put ten subjects into five classes.
COUNTS = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip


@settings(deadline=None)  # scikit-learn takes its time at the first call
@given(st.lists(st.tuples(words, words), min_size=2, max_size=60))
def test_cohens_kappa_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    found = cohen_kappa(pairs)
    if found is None:
        assert len({word for pair in pairs for word in pair}) == 1
        return
    one, other = zip(*pairs, strict=True)
    assert found.value == pytest.approx(cohen_kappa_score(one, other), abs=1e-9)
    assert found.low <= found.value <= found.high


def test_fleiss_kappa_is_that_of_the_published_example() -> None:
    items = [[name for name, count in enumerate(counts) for _ in range(count)] for counts in COUNTS]
    found = fleiss_kappa(items)
    assert found is not None
    assert found.value == pytest.approx(0.2099, abs=1e-4)
    assert found.low < 0.2099 < found.high


def test_full_agreement_is_one_chance_is_about_zero_and_few_items_say_nothing() -> None:
    same = fleiss_kappa([["fake", "fake"], ["real", "real"]] * 20)
    assert same is not None
    assert (same.value, same.low, same.high) == (1.0, 1.0, 1.0)
    chance = cohen_kappa([(one, other) for one in ("fake", "real") for other in ("fake", "real")] * 25)
    assert chance is not None
    assert chance.low < 0 < chance.high
    few = cohen_kappa([("fake", "fake"), ("real", "real")])
    assert few is not None
    assert (few.low, few.high) == (-1.0, 1.0)
    assert cohen_kappa([]) is fleiss_kappa([["fake"]]) is fleiss_kappa([["fake", "fake"]]) is None
