"""A reviewer at work in a real browser, with keys alone."""

import re
from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from sqlalchemy import delete, func, select, text, update

from db.review import cases, lookalikes
from db.schema import AuditEntry, Case, Preview, Review, Sample, SignIn, Verdict
from db.schema.clock import moment
from db.store.session import Database

#: Browsers are slow where machines are busy.
pytestmark = pytest.mark.timeout(600)
Visit = Callable[..., Page]
Flag = Callable[..., None]
#: What would run, or break out, if it were not escaped.
HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>"

DRAW = (
    "INSERT INTO draws (id, policy, version_id, threshold_id, stratum, low, high, since, until, population, drawn, "
    "author) VALUES (1, 'default', 1, 1, 'flagged', 0.5, 1, '2026-01-01', '2026-01-02', 1, 1, 'lee')"
)


def press(page: Page, key: str) -> None:
    """Once the page's script is there to hear it: a heading may be seen before. A decision waits for the photo."""
    page.wait_for_load_state()
    if key in ("f", "r") and page.locator("[data-needs-photo]").count() and not page.locator("dialog[open]").count():
        expect(page.locator("[data-needs-photo]").first).to_be_enabled()
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
        expect(page.get_by_role("button", name="Real")).to_be_enabled()
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


def test_the_next_cases_photo_is_there_before_it_is_asked_for(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    flag("bea", "b")
    page = visit("pat")
    press(page, "n")
    expect(page.locator("#ahead img")).to_have_count(1)
    page.wait_for_load_state("networkidle")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    press(page, "r")
    expect(page.get_by_role("heading", name="bea")).to_be_visible()
    expect(page.locator(".box.photo img")).to_be_visible()
    expect(page.get_by_role("button", name="Real")).to_be_enabled()
    assert [url for url in asked if url.endswith("/photo")] == []
    with record.reading() as session:
        seen = session.scalars(select(AuditEntry.what).where(AuditEntry.case_id == 2).order_by(AuditEntry.id)).all()
    assert seen.index("prefetched_photo") < seen.index("viewed") < seen.index("saw_photo")
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
    expect(sam.get_by_text("is held by pat until")).to_be_visible()
    sam.keyboard.press("f")  # there is nothing to press
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
    expect(page.get_by_label("Note")).to_have_value("frs: typed, and no decision")
    expect(page.get_by_role("heading", name="Photo 2")).to_be_visible()
    assert decisions(record) == []


def test_an_expired_sign_in_decides_nothing_and_keeps_the_page(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat")
    press(page, "n")
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    with record.writing() as session:
        session.execute(update(SignIn).values(expires_at=moment(-1)))
    press(page, "f")
    expect(page.get_by_role("alert")).to_contain_text("nothing was saved")
    assert decisions(record) == []
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
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
    pat.get_by_label("Why this case should be decided again").fill("she says that it is her")
    pat.get_by_role("button", name="Reopen").click()
    expect(pat.get_by_text("another reviewer must decide it")).to_be_visible()
    sam = visit("sam")
    press(sam, "n")
    expect(sam.get_by_role("region", name="Appeal")).to_contain_text("she says that it is her")
    expect(sam.get_by_role("region", name="Appeal")).to_contain_text("6 d left")
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
    expect(page.locator("#photo-2 .map")).to_contain_text("No worker is running")
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
    page.get_by_role("group", name="Keyboard shortcuts").get_by_label("Off").check()
    page.get_by_role("button", name="Save").click()
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
    page.get_by_label("Why this case should be decided again").fill(HOSTILE)
    page.get_by_role("button", name="Reopen").click()
    expect(page.get_by_text("another reviewer must decide it")).to_be_visible()
    lead = visit("lee")
    lead.goto("/people")
    lead.get_by_label("Name").fill(HOSTILE)
    lead.get_by_role("button", name="Add").click()
    for path in ("/people", "/audit", "/cases/1", "/", f"/?account={HOSTILE}", f"/audit?who={HOSTILE}"):
        lead.goto(path)
        assert lead.locator("img[src=x], main script:not([src])").count() == 0, path
    with record.reading() as session:
        assert cases.get_case(session, 1).account_id == HOSTILE


def test_everything_works_without_script(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat", java_script_enabled=False)
    page.get_by_role("button", name="Next case").click()
    page.locator("#decide [name=reason]").select_option("artefacts")
    page.get_by_role("button", name="Unsure").click()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Real").click()
    assert [decision for _, _, decision in decisions(record)] == ["unsure", "undone", "dismissed"]
    with record.reading() as session:
        assert session.scalar(select(func.count(Case.id)).where(Case.state == "dismissed")) == 1


def shown_at(page: Page, photo: str = "#photo-1") -> tuple[float, float]:
    """How wide the photo is on the screen, and where it begins."""
    found: list[float] = page.locator(f"{photo} .pane img").first.evaluate(
        "node => [node.getBoundingClientRect().width, node.getBoundingClientRect().left]"
    )
    return found[0], found[1]


def test_a_photo_is_looked_at_closely_with_keys_wheel_and_pointer(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    flag("bea", "b")
    with record.writing() as session:  # the photo at its own size, which a worker has made
        small = session.scalars(select(Preview.picture).where(Preview.image_id == "a")).one()
        session.add(Preview(image_id="a", kind="original", picture=enlarged(small or b"", 1200)))
    page = visit("pat")
    page.goto("/cases/1")
    expect(page.locator("#photo-1 output")).to_contain_text("1200×")
    whole, _ = shown_at(page)
    room = page.locator("#photo-1 .pane").evaluate("node => node.clientHeight / node.clientWidth")
    assert room > 0.5
    assert page.locator("#photo-1 .pane").evaluate("node => node.clientHeight") > 500
    press(page, "1")
    assert shown_at(page)[0] == pytest.approx(1200, abs=2), "one pixel of the photo to one of the screen"
    expect(page.locator("#photo-1 output")).to_contain_text("100 %")
    before = shown_at(page)[1]
    page.keyboard.press("ArrowRight")
    assert shown_at(page)[1] < before
    press(page, "0")
    assert shown_at(page)[0] == pytest.approx(whole, abs=1)
    press(page, "+")
    assert shown_at(page)[0] == pytest.approx(1.25 * whole, abs=2)
    press(page, "-")
    page.locator("#photo-1 .pane img").click(position={"x": 60, "y": 60})
    assert shown_at(page)[0] > 1.5 * whole
    press(page, "Escape")
    assert shown_at(page)[0] == pytest.approx(whole, abs=1)
    page.locator("#photo-1 .pane").hover()
    page.mouse.wheel(0, -400)
    expect(page.locator("#photo-1 .pane")).to_have_class(re.compile("zoomed"))
    press(page, "0")
    press(page, ".")
    press(page, ":")
    light = page.locator("#photo-1 .pane .box").evaluate("node => getComputedStyle(node).filter")
    assert light == "brightness(1.15) contrast(1.2)"
    expect(page.get_by_text("You hold it until")).to_have_count(0)
    with record.reading() as session:
        assert session.get_one(Case, 1).held_by == "pat", "zooming is working on it"
        assert session.get_one(Case, 2).held_by is None


def enlarged(picture: bytes, width: int) -> bytes:
    with Image.open(BytesIO(picture)) as small:
        out = BytesIO()
        small.resize((width, width * small.height // small.width)).save(out, "JPEG")
    return out.getvalue()


def test_two_photos_are_compared_side_by_side_and_zoomed_together(visit: Visit, flag: Flag) -> None:
    flag("ada", "a", "b")
    page = visit("pat")
    page.goto("/cases/1")
    expect(page.locator("#photo-2 .pane img")).to_be_visible()
    press(page, "c")
    panes = page.locator("#photo-1 .pane")
    expect(panes).to_have_count(2)
    press(page, "+")
    expect(panes.nth(1)).to_have_class(re.compile("zoomed"))
    press(page, "c")
    expect(panes).to_have_count(1)


def test_a_heatmap_fades_in_over_the_photo(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    out = BytesIO()
    Image.new("RGBA", (512, 512), (255, 140, 0, 120)).save(out, "PNG")
    with record.writing() as session:
        session.add(Preview(image_id="a", kind="heatmap", picture=out.getvalue()))
    page = visit("pat")
    page.goto("/cases/1")
    expect(page.get_by_role("button", name="Real")).to_be_enabled()
    press(page, "h")
    layer = page.locator("#photo-1 .pane .layer")
    expect(layer).to_have_css("opacity", "0.85")
    expect(page.get_by_text("raises the score")).to_be_visible()
    press(page, "h")
    expect(layer).to_have_css("opacity", "0")


def test_no_photo_no_decision_and_unsure_does_not_wait(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    with record.writing() as session:
        session.execute(delete(Preview))
    page = visit("pat")
    press(page, "n")
    expect(page.get_by_text("No worker is running")).to_be_visible()
    expect(page.get_by_text("unmask worker")).to_be_visible()
    for name in ("AI", "Real"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    page.keyboard.press("f")
    page.keyboard.press("r")
    press(page, "s")
    expect(page.get_by_text("No case is free for you now")).to_be_visible()
    assert [decision for _, _, decision in decisions(record)] == ["unsure"]


def test_copies_are_decided_together_and_one_undo_takes_all_back(record: Database, visit: Visit, flag: Flag) -> None:
    for account, photo in (("ada", "a"), ("bea", "b"), ("cyd", "c")):
        flag(account, photo)
    with record.writing() as session:
        lookalikes.store_hashes(session, dict.fromkeys("abc", bytes(64)))
    page = visit("pat")
    page.goto("/cases/1")
    page.get_by_label("Decide together with case 2").check()
    page.get_by_label("Decide together with case 3").check()
    expect(page.get_by_role("button", name="Real: 3 cases")).to_be_enabled()
    page.get_by_label("Note").fill("a copy")
    page.keyboard.press("Escape")
    press(page, "f")
    expect(page.get_by_text("3 cases (1, 2, 3): AI-generated")).to_be_visible()
    press(page, "u")
    for account in ("ada", "bea", "cyd"):
        expect(page.get_by_role("cell", name=account)).to_be_visible()  # in the queue, where the key was pressed
    with record.reading() as session:
        assert session.scalars(select(Case.state)).all() == ["open"] * 3


def test_every_key_of_the_list_does_something_on_its_page(visit: Visit, flag: Flag) -> None:
    flag("ada", "a", "b")
    page = visit("lee")
    page.goto("/cases/1")
    page.wait_for_load_state("networkidle")
    listed = [key.lower() for key in page.locator("#keys tbody kbd").all_inner_texts() if len(key) == 1]
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    pressed = page.evaluate("Object.keys(KEYS)")
    assert set(listed) <= set(pressed)
    there = set(page.evaluate("[...document.querySelectorAll('[data-key]')].map(node => node.dataset.key)"))
    assert there <= set(listed)
    assert {"f", "r", "s", "n", "l", "m"} <= there


def test_a_sample_waits_for_its_photo_and_its_verdict_is_undone(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    with record.writing() as session:
        session.execute(text(DRAW))
        session.add(Sample(draw_id=1, image_id="a", score_id=1, probability=1.0))
    page = visit("pat")
    page.goto("/samples")
    press(page, "n")
    expect(page.get_by_role("heading", name="Real or AI-generated?")).to_be_visible()
    press(page, "1")
    press(page, "r")
    expect(page.get_by_text("Sample 1: real")).to_be_visible()
    press(page, "u")
    expect(page.get_by_role("heading", name="Real or AI-generated?")).to_be_visible()
    press(page, "f")
    expect(page.get_by_text("Sample 1: AI-generated")).to_be_visible()
    with record.reading() as session:
        assert session.scalars(select(Verdict.verdict).order_by(Verdict.id)).all() == ["real", "undone", "fake"]


def test_a_console_that_is_gone_loses_no_note(visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat")
    press(page, "n")
    page.get_by_label("Note").fill("typed")
    page.context.route("**/decide", lambda route: route.abort())
    page.keyboard.press("Escape")
    press(page, "r")
    expect(page.get_by_role("alert")).to_contain_text("nothing was decided")
    expect(page.get_by_label("Note")).to_have_value("typed")


def test_a_photo_that_needs_special_handling_goes_to_a_lead(visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat")
    press(page, "n")
    page.get_by_text("Special handling").click()
    page.get_by_label("This case").select_option("minor")
    page.get_by_role("button", name="Restrict to leads").click()
    page.goto("/cases/1")
    expect(page.get_by_text("only a lead sees its pictures")).to_be_visible()
    assert page.locator(".pane img").count() == 0
    lead = visit("lee")
    lead.goto("/restricted")
    lead.get_by_role("link", name="1", exact=True).click()
    expect(lead.locator(".pane img")).to_be_visible()


def test_a_break_is_suggested_after_the_time_that_one_chose(visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    page = visit("pat")
    page.evaluate(
        "sessionStorage.setItem('began', Date.now() - 61 * 60000); sessionStorage.setItem('seen', Date.now())"
    )
    page.goto("/cases/1")
    expect(page.get_by_text("You have worked for 61 minutes")).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("You have worked")).to_be_hidden()
    expect(page.get_by_text("Today: 0")).to_be_visible()


def test_no_frame_stands_round_the_page_after_a_decision(visit: Visit, flag: Flag) -> None:
    flag("ada", "a")
    flag("bea", "b")
    page = visit("pat")
    press(page, "n")
    expect(page.get_by_role("heading", name="ada")).to_be_visible()
    press(page, "r")
    expect(page.get_by_role("heading", name="bea")).to_be_visible()
    assert page.evaluate("[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle]") == [
        "main", "none",
    ]  # fmt: skip
