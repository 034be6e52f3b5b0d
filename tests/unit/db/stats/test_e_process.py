"""An FPR that is kept is rarely rejected, however often one looks; one that is exceeded is rejected soon."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.stats.e_process import JudgedStratum, JudgedWindow, bet_capital, least_capital, log_e_value

TARGET, ALPHA = 0.005, 0.05
LIMIT = math.log(1 / ALPHA)
WEEKS = 26


@dataclass(frozen=True)
class Platform:
    """Uploads a week, how many of 10,000 are AI-generated, and how many photos of each stratum people judge a week."""

    uploads: int
    fakes: int = 5
    sizes: tuple[int, int, int] = (50, 50, 100)

    def week(self, rng: np.random.Generator, fpr: float) -> JudgedWindow:
        fakes = int(rng.binomial(self.uploads, self.fakes / 10_000))
        reals = self.uploads - fakes
        wrong, right = int(rng.binomial(reals, fpr)), int(rng.binomial(fakes, 0.7))
        below = (self.uploads - wrong - right) // 20
        missed = int(rng.binomial(fakes - right, 0.5))
        rest = reals - wrong - (below - missed), fakes - right - missed
        strata = ((wrong, right), (below - missed, missed), rest)
        flagged, *others = (sampled(rng, *each, size) for each, size in zip(strata, self.sizes, strict=True))
        return JudgedWindow(flagged, tuple(others))


def sampled(rng: np.random.Generator, reals: int, fakes: int, size: int) -> JudgedStratum:
    drawn = min(size, reals + fakes)
    return JudgedStratum(reals + fakes, drawn, drawn, int(rng.hypergeometric(reals, fakes, drawn)) if drawn else 0)


def weeks_until_expired(rng: np.random.Generator, platform: Platform, rates: list[float]) -> int | None:
    """After how many weeks with these FPRs the certificate expires; None when it does not."""
    windows: list[JudgedWindow] = []
    for fpr in rates:
        windows.append(platform.week(rng, fpr))
        if log_e_value(windows, TARGET) >= LIMIT:
            return len(windows)
    return None


def window(photos: int, flagged: int, judged: int, reals: int) -> JudgedWindow:
    drawn = min(50, flagged)
    others = JudgedStratum(photos - flagged, 100, 100, 100)
    return JudgedWindow(JudgedStratum(flagged, drawn, judged, reals), (others,))


def test_without_verdicts_nothing_is_known() -> None:
    assert log_e_value([], TARGET) == pytest.approx(0)
    assert log_e_value([window(10_000, 500, 0, 0)] * 3, TARGET) == pytest.approx(0)
    assert log_e_value([window(10_000, 500, 9, 9)], TARGET) == pytest.approx(0), "too few to count"


def test_many_flags_that_are_real_are_evidence_and_many_that_are_fake_are_none() -> None:
    assert log_e_value([window(10_000, 200, 50, 50)], TARGET) > LIMIT
    assert log_e_value([window(10_000, 200, 50, 5)], TARGET) < 0
    assert log_e_value([window(10_000, 20, 20, 20)], TARGET) < 0


def test_verdicts_on_unflagged_photos_sharpen_the_test() -> None:
    """Where most of the unflagged photos are fakes, the same flagged reals are a larger share of all reals."""
    flagged = JudgedStratum(60, 50, 50, 50)
    real = JudgedWindow(flagged, (JudgedStratum(10_000, 100, 100, 100),))
    fake = JudgedWindow(flagged, (JudgedStratum(10_000, 100, 100, 20),))
    assert log_e_value([fake], TARGET) > log_e_value([real], TARGET) + 5


@given(k=st.integers(0, 50))
def test_more_reals_among_the_flagged_are_more_evidence(k: int) -> None:
    rows = [log_e_value([window(10_000, 150, 50, reals)], TARGET) for reals in (k, min(50, k + 1))]
    assert rows[0] <= rows[1] + 1e-9


@given(n=st.integers(1, 40), k=st.integers(0, 10), m=st.integers(0, 10), each=st.sampled_from([-0.3, -0.01, 0.05, 0.7]))
def test_the_least_capital_is_the_least_of_all_numbers_of_reals(n: int, k: int, m: int, each: float) -> None:
    m, k = min(m, n), min(k, m, n)
    stratum = JudgedStratum(n, m, m, k)
    capital = bet_capital(stratum, each)
    assert least_capital(stratum, each) == pytest.approx(min(capital(r) for r in range(k, n - (m - k) + 1)))


@pytest.mark.parametrize(("n", "r", "m", "mean"), [(20, 7, 5, 1.0), (9, 9, 4, 0.6), (30, 1, 10, 0.5909)])
def test_the_bet_on_the_right_number_of_reals_is_at_most_fair(n: int, r: int, m: int, mean: float) -> None:
    """Summed over all samples, weighted by their probability, it is at most 1: 1 where each sample is possible."""
    total = 0.0
    for k in range(max(0, m - (n - r)), min(m, r) + 1):
        chance = math.comb(r, k) * math.comb(n - r, m - k) / math.comb(n, m)
        total += chance * math.exp(bet_capital(JudgedStratum(n, m, m, k), 0.0)(r))
    assert total == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("fpr", [0.0, 1.0, -1.0, math.nan])
def test_what_is_no_rate_is_refused(fpr: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        log_e_value([], fpr)


@pytest.mark.slow
def test_a_certificate_that_holds_seldom_expires_even_at_its_limit() -> None:
    rng = np.random.default_rng(3)
    for uploads in (1_000, 20_000):
        for fpr in (TARGET / 3, TARGET):
            found = [weeks_until_expired(rng, Platform(uploads), [fpr] * WEEKS) for _ in range(200)]
            wrong = sum(weeks is not None for weeks in found) / len(found)
            assert wrong <= ALPHA


@pytest.mark.slow
def test_a_certificate_revokes_itself_when_a_cohort_comes_that_the_reference_lacks() -> None:
    """From the ninth week on, a fifth of the uploads come from a camera whose real photos score higher."""
    rng = np.random.default_rng(4)
    good = TARGET / 3
    for uploads, cohort_fpr, most in ((1_000, 0.05, 8), (20_000, 0.03, 3), (20_000, 0.05, 2), (200_000, 0.03, 2)):
        shifted = 0.8 * good + 0.2 * cohort_fpr
        found = [weeks_until_expired(rng, Platform(uploads), [good] * 8 + [shifted] * WEEKS) for _ in range(50)]
        late = [weeks - 8 for weeks in found if weeks is not None]
        assert len(late) == 50
        assert min(late) > 0
        assert np.median(late) <= most
