"""Bars and points stay within their plot, and what is drawn is said in words."""

from hypothesis import given
from hypothesis import strategies as st

from db.console.views.plots import HEIGHT, bar_plot

COUNTS = st.dictionaries(st.sampled_from(["confirmed", "dismissed", "unsure"]), st.integers(0, 10**6))


@given(st.lists(st.tuples(st.just("day"), COUNTS), max_size=28))
def test_bars_stay_within_the_plot(rows: list[tuple[str, dict[str, int]]]) -> None:
    bars, most = bar_plot(rows)
    assert [bar.total for bar in bars] == [sum(counts.values()) for _, counts in rows]
    assert most == max((bar.total for bar in bars), default=0)
    for bar in bars:
        assert 0 <= bar.left <= bar.middle <= 100
        assert 0 <= bar.top <= HEIGHT


def test_a_bar_says_its_counts_in_the_words_of_the_console() -> None:
    (bar,), most = bar_plot([("30 Nov", {"confirmed": 1200, "dismissed": 0, "unsure": 1})])
    assert (bar.label, bar.name, most) == ("30 Nov: 1,200 AI-generated, 1 unsure", "30 Nov", 1201)
