"""Leads say who comes in; auditors read what was done; everybody sees things as they like."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from db.access import people
from db.store.session import Database

Open = Callable[..., Any]


def test_a_lead_adds_somebody_who_comes_in_by_the_link_that_is_shown_once(sign_in: Open, open_browser: Open) -> None:
    lead = sign_in("lead")
    page = lead.post("/people/add", name="bob", role="reviewer").text
    link = re.search(r"http://localhost(/link/[\w-]+)<", page)
    assert link is not None
    assert link[1] not in lead.get("/people").text
    bob = open_browser()
    assert bob.fill(link[1]).status_code == 303
    assert bob.get("/help").status_code == 200
    assert bob.get("/people").status_code == 403


def test_whoever_is_there_already_or_has_no_name_is_not_added(sign_in: Open) -> None:
    lead = sign_in("lead")
    assert lead.post("/people/add", name="lead", role="reviewer").status_code == 409
    assert lead.post("/people/add", name=" ", role="reviewer").status_code == 400
    assert lead.post("/people/add", name="bob", role="king").status_code == 400
    assert lead.post("/people/link", name="nobody").status_code == 404


def test_a_lead_shuts_others_out_and_never_themselves(database: Database, sign_in: Open) -> None:
    lead, bob = sign_in("lead"), sign_in("reviewer", "bob")
    assert lead.post("/people/disable", name="bob").status_code == 303
    assert bob.get("/help").status_code == 303
    assert lead.post("/people/link", name="bob").status_code == 403
    assert lead.post("/people/disable", name="lead").status_code == 409
    assert lead.post("/people/enable", name="bob").status_code == 303
    with database.reading() as session:
        assert [(person.name, person.disabled) for person in people.list_people(session)] == [
            ("bob", False),
            ("lead", False),
        ]


def test_the_audit_log_is_read_a_page_at_a_time_and_by_who_and_what(sign_in: Open) -> None:
    lead, cyn = sign_in("lead"), sign_in("auditor", "cyn")
    for _ in range(2):
        lead.post("/people/link", name="cyn")
    first = cyn.get("/audit?who=lead").text
    assert first.count("made a sign-in link") == 3  # each of them, and among the actions to choose from
    assert "read the audit log" in cyn.get("/audit?who=cyn").text
    assert "No entry matches" in cyn.get("/audit?what=undone").text
    for _ in range(3):
        cyn.get("/audit")
    earlier = re.search(r'href="(/audit\?[^"]*before=\d+)"', cyn.get("/audit?who=cyn").text)
    assert earlier is not None
    assert cyn.get(earlier[1].replace("&amp;", "&")).text.count("<tr>") > 1


def test_a_look_is_kept_in_a_cookie_and_any_other_is_the_default(sign_in: Open) -> None:
    browser = sign_in("reviewer")
    answer = browser.post("/look", theme="dark", pictures="grey-blur", keys="off", rest="90", back="/help")
    assert answer.headers["location"] == "/help"
    assert 'data-theme="dark" data-pictures="grey-blur" data-keys="off" data-rest="90"' in browser.get("/help").text
    browser.post("/look", theme="x", pictures='"><script>', keys="off", back="//evil.example")
    assert 'data-theme="auto" data-pictures="plain" data-keys="on" data-rest="60"' in browser.get("/help").text


@pytest.mark.parametrize("back", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_a_look_leads_to_no_other_site(sign_in: Open, back: str) -> None:
    answer = sign_in("reviewer").post("/look", theme="dark", pictures="plain", keys="on", rest="60", back=back)
    assert answer.headers["location"] == "/"
