"""What leads prepare for their team, and what is for one's own eyes."""

from collections.abc import Callable
from typing import Any

import pytest

from db.console.link_template import check_template

Open = Callable[..., Any]


def test_a_lead_writes_templates_that_reviewers_choose_from(
    sign_in: Open, flag: Callable[..., None], case_ids: Callable[[], list[int]]
) -> None:
    flag("ada", "a")
    lee, pat = sign_in("lead", "lee"), sign_in("reviewer", "pat")
    assert lee.post("/team/templates", name="Ears", reason="artefacts", note='See the "ears".').status_code == 303
    assert 'data-reason="artefacts" data-note="See the &#34;ears&#34;."' in pat.get(f"/cases/{case_ids()[0]}").text
    lee.post("/team/templates", name="Ears", reason="", note="Changed.")
    assert 'data-reason="" data-note="Changed."' in pat.get(f"/cases/{case_ids()[0]}").text
    refused = lee.post("/team/templates", name="Long", reason="nonsense", note="kept")
    assert (refused.status_code, ">kept</textarea>" in refused.text) == (400, True)
    assert lee.post("/team/templates", name="Ears", remove="1").status_code == 303
    assert "data-note" not in pat.get(f"/cases/{case_ids()[0]}").text
    assert lee.post("/team/templates", name="Ears", remove="1").status_code == 404


def test_pictures_are_shown_as_the_lead_chose_for_the_policy_unless_one_chose_otherwise(
    sign_in: Open, flag: Callable[..., None], case_ids: Callable[[], list[int]]
) -> None:
    flag("ada", "a")
    lee, pat = sign_in("lead", "lee"), sign_in("reviewer", "pat")
    case = f"/cases/{case_ids()[0]}"
    lee.post("/team/pictures", policy="", pictures="grey")
    assert 'data-pictures="grey"' in pat.get(case).text
    lee.post("/team/pictures", policy="default", pictures="blur")
    assert 'data-pictures="blur"' in pat.get(case).text
    assert lee.post("/team/pictures", policy="", pictures="x").status_code == 400
    pat.post("/look", theme="auto", pictures="plain", keys="on", rest="off")
    assert 'data-pictures="plain"' in pat.get(case).text


def test_ones_own_day_is_counted_and_recorded_nowhere(
    sign_in: Open, flag: Callable[..., None], case_ids: Callable[[], list[int]], logged: Callable[[], list[Any]]
) -> None:
    flag("ada", "a")
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.decide(case_ids()[0], decision="unsure", version=1)
    before = logged()
    assert "Today: 1" in pat.get("/my-day").text
    assert "Today: 0" in sam.get("/my-day").text
    assert logged() == before


@pytest.mark.parametrize(
    "text",
    ["javascript:alert(1)", "//example.com/{account}", "https://{account}.example.com/", "https://x/{name}", "x"],
)
def test_a_link_leads_to_one_host(text: str) -> None:
    with pytest.raises(ValueError, match="is no link"):
        check_template(text)


def test_links_have_names_after_the_host_only() -> None:
    for text in ("", "https://example.com", "http://example.com/u/{account}?case={case}#{policy}"):
        assert check_template(text) == text
