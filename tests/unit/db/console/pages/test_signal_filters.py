"""The queue finds cases by what their photos' files say and by the model that flagged them; blind reviewers do not."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest

Open = Callable[..., Any]
FILTERS = {
    "": ["edited", "novel", "old", "silent"],
    "signal=provenance.ai": ["novel"],
    "signal=provenance.camera": ["edited"],
    "signal=provenance.unread": [],
    "generator=NovelAI": ["novel"],
    "generator=Firefly&signal=provenance.camera": ["edited"],
    "generator=X100": [],
    "model=second": ["edited", "novel", "silent"],
    "model=first": ["old"],
    "model=nobody": [],
    "model=second&signal=provenance.ai&state=all&order=age": ["novel"],
}


def accounts(page: str) -> list[str]:
    return sorted(re.findall(r'<td data-label="Account" class="long"><bdi>([^<]+)', page))


@pytest.mark.both
def test_filters_by_signal_generator_and_model_lie_in_the_url(sign_in: Open, said: dict[str, int]) -> None:
    assert said
    lead = sign_in("lead", console_rows=10)
    assert {query: accounts(lead.get(f"/?{query}").text) for query in FILTERS} == FILTERS


def test_the_list_says_what_flagged_each_case_and_offers_what_there_is(sign_in: Open, said: dict[str, int]) -> None:
    assert said
    page = html.unescape(sign_in("lead", console_rows=10).get("/").text)
    assert '<bdi>second</bdi> <span class="tag">file says AI-generated: NovelAI</span></td>' in page
    assert '<span class="tag">file says edited with AI: Firefly</span>' in page
    assert '<span class="tag">file names a camera</span>' in page
    assert re.findall(r"<option>(NovelAI|Firefly|X100|first|second)</option>", page) == [
        *("Firefly", "NovelAI"),
        *("first", "second"),
    ]


def test_a_view_keeps_and_counts_these_filters(sign_in: Open, said: dict[str, int]) -> None:
    assert said
    lead = sign_in("lead")
    kept = lead.post("/views", name="AI by its file", query="signal=provenance.ai&model=second")
    assert kept.headers["location"] == "/?signal=provenance.ai&model=second"
    assert '<bdi>AI by its file</bdi> <span class="count">1</span>' in lead.get("/").text
    assert lead.get("/?signal=watermark").status_code == 400


def test_a_blind_reviewer_learns_no_signal_from_the_list_nor_from_its_filters(
    sign_in: Open, said: dict[str, int]
) -> None:
    assert said
    blind = sign_in("reviewer", blind_share=1.0, console_rows=10)
    page = blind.get("/?order=age").text.partition("<tbody>")[2]
    assert len(accounts(page)) == 4
    assert "file says" not in page
    assert "second" not in page
    for query in ("signal=provenance.ai", "generator=NovelAI", "model=second"):
        found = blind.get(f"/?order=age&{query}").text
        assert accounts(found) == []
        assert "would tell" in found
