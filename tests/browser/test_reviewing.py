"""A reviewer at work in a real browser, with keys alone."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import func, select, update

from db.review import cases
from db.schema.clock import moment
from db.schema import Case, Review, SignIn
from db.store.session import Database

#: Browsers are slow where machines are busy.
pytestmark = pytest.mark.timeout(600)
Visit = Callable[..., Page]
Flag = Callable[..., None]
#: What would run, or break out, if it were not escaped.
HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"


def press(page: Page, key: str) -> None:
    """Once the page's script is there to hear it: a heading may be seen before."""
    page.wait_for_load_state()
    page.keyboard.press(key)


def decisions(record: Database) -> list[tuple[int, str, str]]:
    with record.reading() as session:
        statement = select(Review.case_id, Review.reviewer, Review.decision).order_by(Review.id)
        return [(row[0], row[1], row[2]) for row in session.execute(statement)]


def test_ten_cases_are_decided_with_keys_only_and_the_last_is_taken_back(
    record: Database, visit: Visit, flag: Flag
) -> None:
    for number in range(1, 11):
        flag(f"account {number}", f"photo {number}")
    page = visit()
    page.goto("/")
    page.get_by_label("Name").focus()
    page.keyboard.type("pat")
    press(page, "Tab")
    page.keyboard.type("correct horse battery")
    press(page, "Enter")
    page.wait_for_url(re.compile(r"/$"))
    press(page, "n")
    for number in range(1, 11):
        expect(page.get_by_role("heading", name=f"account {number}", exact=True)).to_be_visible()
        expect(page.locator(".box.photo img")).to_be_visible()
        press(page, "frs"[number % 3])
    expect(page.get_by_text("No case is free for you now")).to_be_visible()
    said = [decision for _, _, decision in decisions(record)]
    assert said == [("confirmed", "dismissed", "unsure")[number % 3] for number in range(1, 11)]
    press(page, "u")
    expect(page.get_by_role("heading", name="account 10", exact=True)).to_be_visible()
    assert decisions(record)[-1] == (10, "pat", "undone")


def test_a_decision_is_taken_back_from_the_next_cases_page(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    flag("bea", "b")
    page = visit("pat")
    press(page, "n")
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    press(page, "f")
    expect(page.get_by_role("heading", name="bea")).to_be_visible()
    press(page, "u")
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    assert [decision for _, _, decision in decisions(record)] == ["confirmed", "undone"]


def test_the_next_cases_photo_is_there_before_it_is_asked_for(visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    flag("bea", "b")
    page = visit("pat")
    press(page, "n")
    expect(page.locator("#ahead img")).to_have_count(1)
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.resource_type))
    press(page, "r")
    expect(page.get_by_role("heading", name="bea")).to_be_visible()
    expect(page.locator(".box.photo img")).to_be_visible()
    assert "image" not in asked
    assert page.url.endswith("/cases/2?decided=1")
    page.go_back()
    expect(page.get_by_role("heading", name="ada")).to_be_visible()


def test_two_reviewers_who_want_one_case_are_one_too_many(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    pat, sam = visit("pat"), visit("sam")
    press(pat, "n")
    expect(pat.get_by_role("heading", name="ada")).to_be_visible()
    press(sam, "n")
    expect(sam.get_by_text("No case is free for you now")).to_be_visible()
    sam.goto("/cases/1")
    expect(sam.get_by_text("is with pat until")).to_be_visible()
    press(sam, "f")  # there is nothing to press
    press(pat, "r")
    expect(pat.get_by_text("No case is free for you now")).to_be_visible()
    assert decisions(record) == [(1, "pat", "dismissed")]


def test_a_stale_page_overwrites_nothing_and_keeps_the_note(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat")
    press(page, "n")
    page.get_by_label("Note").fill("frs: typed, and no decision")
    flag("ada", "b")
    press(page, "Escape")
    press(page, "r")
    expect(page.get_by_role("alert")).to_contain_text("photo b flagged")
    expect(page.get_by_text("frs: typed, and no decision")).to_be_visible()
    page.get_by_role("link", name="See it as it is now").click()
    expect(page.get_by_role("heading", name="Photo 2")).to_be_visible()
    assert decisions(record) == []


def test_an_expired_sign_in_loses_the_page_and_decides_nothing(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat")
    press(page, "n")
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    with record.writing() as session:
        session.execute(update(SignIn).values(expires_at=moment(-1)))
    press(page, "f")
    expect(page.get_by_role("alert")).to_contain_text("nothing was saved")
    assert decisions(record) == []
    page.goto("/cases/1")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_an_appeal_goes_to_somebody_else(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    pat = visit("pat")
    press(pat, "n")
    expect(pat.get_by_role("heading", name="ada")).to_be_visible()
    press(pat, "f")
    expect(pat.get_by_text("No case is free for you now")).to_be_visible()
    pat.goto("/cases/1")
    pat.get_by_text("Appeal", exact=True).click()
    pat.get_by_label("Why it should be looked at again").fill("she says that it is her")
    pat.get_by_role("button", name="Open it again").click()
    expect(pat.get_by_text("somebody else decides it now")).to_be_visible()
    sam = visit("sam")
    press(sam, "n")
    expect(sam.get_by_text("she says that it is her")).to_be_visible()
    press(sam, "r")
    expect(sam.get_by_text("No case is free for you now")).to_be_visible()
    assert decisions(record) == [(1, "pat", "confirmed"), (1, "sam", "dismissed")]


def test_keys_walk_through_the_photos_and_ask_for_a_heatmap(visit: Visit, flag: Flag) -> None:
    flag("ada", "a", "b", "c")
    page = visit("pat")
    press(page, "n")
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    for key, photo in (("j", 2), ("j", 3), ("j", 3), ("k", 2)):
        press(page, key)
        expect(page.locator(f"#photo-{photo}")).to_be_focused()
    press(page, "h")
    expect(page.locator("#photo-2 .map")).to_contain_text("A worker is making it")
    press(page, "?")
    expect(page.get_by_role("dialog")).to_be_visible()
    press(page, "f")  # behind the help nothing is decided
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("heading", name="ada")).to_be_visible()


def test_keys_that_are_switched_off_decide_nothing(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat")
    page.goto("/look?back=/cases/1")
    page.get_by_label("Off").check()
    page.get_by_role("button", name="Keep this").click()
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    press(page, "f")
    page.reload()
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    assert decisions(record) == []


def test_nothing_that_anybody_wrote_runs(record: Database, visit: Visit, flag: Flag) -> None:
    flag(HOSTILE, HOSTILE)
    page = visit("pat")
    press(page, "n")
    page.get_by_label("Note").fill(HOSTILE)
    page.get_by_role("button", name="AI").click()
    expect(page.get_by_text("No case is free for you now")).to_be_visible()
    page.goto("/cases/1")
    page.get_by_text("Appeal", exact=True).click()
    page.get_by_label("Why it should be looked at again").fill(HOSTILE)
    page.get_by_role("button", name="Open it again").click()
    expect(page.get_by_text("somebody else decides it now")).to_be_visible()
    lead = visit("lee")
    lead.goto("/people")
    lead.get_by_label("Name").fill(HOSTILE)
    lead.get_by_role("button", name="Add").click()
    for path in ("/people", "/audit", "/cases/1", "/", f"/?account={HOSTILE}", f"/audit?who={HOSTILE}"):
        lead.goto(path)
        assert lead.locator("img[src=x], main script").count() == 0, path
    with record.reading() as session:
        assert cases.show_case(session, 1)[0].account_id == HOSTILE


def test_everything_works_without_script(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat", java_script_enabled=False)
    page.get_by_role("button", name="Next case").click()
    page.get_by_label("Reason").select_option("artefacts")
    page.get_by_role("button", name="Unsure").click()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Real").click()
    assert [decision for _, _, decision in decisions(record)] == ["unsure", "undone", "dismissed"]
    with record.reading() as session:
        assert session.scalar(select(func.count(Case.id)).where(Case.state == "dismissed")) == 1
