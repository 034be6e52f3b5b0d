"""axe-core finds nothing wrong on any page, wide or narrow, light or dark; text may be twice as large."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

#: Browsers are slow where machines are busy.
pytestmark = pytest.mark.timeout(600)
Visit = Callable[..., Page]
Flag = Callable[..., None]
AXE = Path(__file__).parent / "axe.min.js"
LONG = "an-account-with-a-very-long-name-and-no-space-anywhere-" * 2
PAGES = {
    "nobody": ["/sign-in", "/look", "/link/x"],
    "pat": [
        *("/", "/cases/1", "/cases/4711", "/samples", "/help", "/look", "/password"),
        *("/?signal=provenance.ai", "/quality/me"),
    ],
    "lee": [
        "/people",
        "/audit",
        "/cases/2",
        "/overview",
        "/thresholds",
        "/thresholds?value=0.5",
        "/team",
        "/restricted",
        "/quality",
        "/policies/default",
        "/exports?since=2026-01-01",
    ],
    "cyn": ["/", "/cases/1", "/audit", "/overview"],
}
#: Which rules: all that WCAG 2.2 AA asks for and can be seen by a program, and good practice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: What reaches beyond the window's right edge.
_WIDE = """[...document.querySelectorAll("body :not(nav a)")]
    .filter(node => node.getBoundingClientRect().right > innerWidth).map(node => node.tagName + "." + node.className)"""
_RUN = """rules => axe.run(document, {runOnly: rules}).then(found => found.violations.map(
    wrong => [wrong.id, ...wrong.nodes.map(node => node.target.join(" ") + " " + node.failureSummary)]))"""


@pytest.fixture
def full(flag: Flag) -> None:
    """Cases of one photo and of several, of ordinary and very long names."""
    flag("ada", "a", "b")
    flag(LONG, LONG)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_has_a_violation_or_is_wider_than_its_window(visit: Visit, scheme: str, width: int) -> None:
    source = AXE.read_text()
    for name, paths in PAGES.items():
        page = visit(None if name == "nobody" else name, width=width, color_scheme=scheme)
        for path in paths:
            page.goto(path, wait_until="networkidle")  # with what htmx asks for
            page.evaluate(source)
            assert page.evaluate(_RUN, RULES) == [], (name, path)
            assert _too_wide(page) <= 0, (name, path)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("width", [1280, 390])
def test_text_may_be_twice_as_large(visit: Visit, width: int) -> None:
    page = visit("lee", width=width)
    for path in ("/", "/cases/1", "/cases/2", "/people", "/audit", "/help", "/overview", "/thresholds?value=0.5"):
        page.goto(path, wait_until="networkidle")
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert _too_wide(page) <= 0, (path, page.evaluate(_WIDE))


@pytest.mark.usefixtures("full")
def test_every_page_is_reached_by_tab_and_the_focus_is_seen(visit: Visit) -> None:
    page = visit("pat")
    page.goto("/cases/1")
    seen: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break  # once round: the browser's own buttons come next
        name, outline = page.evaluate(
            "[document.activeElement.innerText.trim(), getComputedStyle(document.activeElement).outlineStyle]"
        )
        seen.append(name)
        assert outline != "none", name
    assert [word in " ".join(seen) for word in ("Skip", "Queue", "AI", "Real", "Unsure", "Sign out")] == [True] * 6


@pytest.mark.usefixtures("full")
def test_pictures_are_grey_and_blurred_until_one_points_at_them(visit: Visit) -> None:
    page = visit("pat")
    page.goto("/look?back=/cases/1")
    page.get_by_label("Grey and blurred").check()
    page.get_by_role("button", name="Save").click()
    photo = page.locator("#photo-1 .box img").first
    expect(photo).to_have_css("filter", "grayscale(1) blur(16px)")
    photo.hover()
    expect(photo).to_have_css("filter", "grayscale(1)")


def _too_wide(page: Page) -> int:
    """By how many pixels one would have to scroll sideways."""
    found: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found
