"""A lead's work in a browser: how it goes, a threshold previewed and set."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from db.policy import thresholds
from db.schema import Case
from db.store.session import Database

#: Browsers are slow where machines are busy.
pytestmark = pytest.mark.timeout(600)
Visit = Callable[..., Page]
Flag = Callable[..., None]


def states(record: Database) -> list[str]:
    with record.reading() as session:
        return list(session.scalars(select(Case.state).order_by(Case.id)))


def test_a_lead_sees_how_it_goes_and_sets_a_threshold(record: Database, visit: Visit, flag: Flag) -> None:
    flag("ada", "a", score=0.85)
    flag("bea", "b", score=0.95)
    page = visit("lee")
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Open cases by age")).to_be_visible()
    expect(page.get_by_text("No results yet")).to_be_visible()
    page.get_by_role("link", name="Preview and set").click()
    page.get_by_label("or flag from this score").fill("0.9")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("It opens 0 cases and withdraws 1")).to_be_visible()
    assert states(record) == ["open", "open"]
    page.get_by_label("Reason").fill("too many")
    page.get_by_role("button", name="Set threshold").click()
    expect(page.get_by_role("cell", name="too many")).to_be_visible()
    assert states(record) == ["withdrawn", "open"]
    with record.reading() as session:
        assert [(row.value, row.author) for row in thresholds.in_effect(session, 1)] == [(0.9, "lee")]
