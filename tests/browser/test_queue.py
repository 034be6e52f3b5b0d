"""The queue in a browser: cases decided together and undone at once; a view that is shared; an auditor's log."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from db.review import reviews
from db.review.reviews import Decision
from db.schema import AuditEntry, Case
from db.store.session import Database

#: Browsers are slow where machines are busy.
pytestmark = pytest.mark.timeout(600)
Visit = Callable[..., Page]
Flag = Callable[..., None]


def states(record: Database) -> list[str]:
    with record.reading() as session:
        return list(session.scalars(select(Case.state).order_by(Case.id)))


def test_two_cases_are_decided_together_after_a_look_and_undone_at_once(
    record: Database, visit: Visit, flag: Flag
) -> None:
    for name in ("ada", "bea", "cy"):
        flag(name, name[0])
    page = visit("pat")
    expect(page.get_by_text("none selected")).to_be_visible()
    page.get_by_label("Select case 1").check()
    page.get_by_label("Select case 3").check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.get_by_role("button", name="Decide the selected cases together").click()
    expect(page.get_by_role("heading", name="Decide 2 cases together")).to_be_visible()
    pictures = page.locator(".batch img")
    expect(pictures).to_have_count(2)
    page.wait_for_function("[...document.querySelectorAll('.batch img')].every(one => one.naturalWidth > 0)")
    page.get_by_role("button", name=re.compile("All AI")).click()
    expect(page.get_by_role("status").filter(has_text="2 cases")).to_be_visible()
    assert states(record) == ["confirmed", "open", "confirmed"]
    page.get_by_role("button", name="Undo all 2").click()
    page.wait_for_url(re.compile(r"/$"))
    assert states(record) == ["open", "open", "open"]


def test_a_lead_shares_a_view_and_a_reviewer_finds_an_appealed_case_in_it(
    record: Database, visit: Visit, flag: Flag
) -> None:
    flag("ada", "a")
    flag("bea", "b")
    with record.writing() as session:
        reviews.decide_case(session, Decision(1, 1, "sam", "confirmed"))
        reviews.appeal_decision(session, 1, 2, "lee", "it is me")
    lee = visit("lee")
    lee.get_by_text("Filters").click()
    lee.get_by_label("Appeal").select_option("appealed")
    lee.get_by_role("button", name="Show").click()
    lee.get_by_text("Save this view").click()
    lee.get_by_role("textbox", name="Name").fill("Heard again")
    lee.get_by_label("Share it with everybody").check()
    lee.get_by_role("button", name="Save", exact=True).click()
    expect(lee.get_by_role("link", name="Heard again 1")).to_be_visible()
    pat = visit("pat")
    pat.get_by_role("link", name="Heard again 1").click()
    expect(pat.get_by_role("cell", name="ada", exact=True)).to_be_visible()
    expect(pat.get_by_role("cell", name="bea", exact=True)).to_have_count(0)
    pat.get_by_label("Search").fill("B")
    pat.get_by_role("button", name="Search").click()
    expect(pat.get_by_role("cell", name="b", exact=True)).to_be_visible()


def test_an_auditor_reads_by_action_and_downloads_the_log(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    visit("pat").goto("/cases/1")
    page = visit("cyn")
    page.get_by_role("link", name="Audit").click()
    page.get_by_label("Action").select_option("viewed")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("cell", name="pat", exact=True)).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download CSV").click()
    assert downloading.value.suggested_filename == "audit.csv"
    page.get_by_role("link", name="Exports").click()
    page.get_by_role("button", name="Count").click()
    expect(page.get_by_role("heading", name=re.compile("Transparency report"))).to_be_visible()
    assert states(record) == ["open"]


def test_small_pictures_load_in_the_list_and_count_as_no_look(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat", width=390)
    picture = page.get_by_role("img", name="First photo of case 1")
    expect(picture).to_be_visible()
    page.wait_for_function("document.querySelector('.cases .thumb img').naturalWidth > 0")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_label("Signal")).to_be_hidden()
    page.get_by_text("Filters").click()
    page.get_by_label("Signal").select_option("The file says: AI-generated")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No case matches these filters.")).to_be_visible()
    with record.reading() as session:
        assert session.scalars(select(AuditEntry.id).where(AuditEntry.what == "saw_photo")).all() == []
