"""The audit log by person, action and day, with seconds, and as a file; and what auditors download."""

import ast
import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from db.access import audit
from db.access.actions import WORDS
from db.console.views.audit_lines import AuditLine
from db.review import reviews
from db.review.reviews import Decision
from db.schema import AuditEntry
from db.store.session import Database

Open = Callable[..., Any]
OpenCase = Callable[..., int]


def rows(page: str) -> list[tuple[str, str]]:
    return re.findall(
        r'<td data-label="Who" class="long"><bdi>([^<]*)</bdi></td>\s*<td data-label="Action" title="\w+">([^<]*)', page
    )


@pytest.fixture
def entries(database: Database) -> None:
    with database.writing() as session:
        for who, what in (("ada", "saw_photo"), ("ada", "decided"), ("=bob", "decided"), ("ada", "undone")):
            audit.log(session, who, what, detail="-1+2")
            session.flush()


@pytest.mark.usefixtures("entries")
def test_lists_offer_who_and_what_there_is_and_days_and_seconds_are_there(sign_in: Open) -> None:
    browser = sign_in("auditor", "cyn", console_rows=20)
    page = browser.get("/audit?who=ada&what=decided").text
    assert rows(page) == [("ada", "decided a case")]
    assert '<option value="saw_photo">saw a photo</option>' in page
    assert "<option>=bob</option>" in page
    assert re.search(r"\d\d:\d\d:\d\d UTC</time>", page)
    today = datetime.now(UTC).date()
    assert len(rows(browser.get(f"/audit?since={today}&who=ada").text)) == 3
    assert rows(browser.get("/audit?until=2020-01-01").text) == []
    for words in ("saw_photo", "saw%20photo", "Saw%20a%20photo"):
        assert rows(browser.get(f"/audit?what={words}").text) == [("ada", "saw a photo")]
    for bad in ("since=x", "case=x"):
        assert browser.get(f"/audit?{bad}").status_code == 400


@pytest.mark.usefixtures("entries")
def test_older_entries_keep_the_filters_and_none_is_lost_between_pages(sign_in: Open) -> None:
    browser = sign_in("auditor", "cyn", console_rows=2)
    first = browser.get("/audit?who=ada").text
    older = re.search(r'href="(/audit\?[^"]*before=\d+)"', first)
    assert older is not None
    second = browser.get(older[1].replace("&amp;", "&")).text
    assert rows(first) + rows(second) == [
        *(("ada", "undid a decision"), ("ada", "decided a case")),
        ("ada", "saw a photo"),
    ]


@pytest.mark.usefixtures("entries")
def test_the_log_is_a_file_whose_cells_no_spreadsheet_calculates_and_the_download_is_logged(
    sign_in: Open, database: Database
) -> None:
    answer = sign_in("auditor", "cyn").get("/audit/export?what=decided")
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    read = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["who"] for row in read] == ["'=bob", "ada"]
    assert read[0]["detail"] == "'-1+2"
    with database.reading() as session:
        last = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert last is not None
        assert (last.who, last.what, last.detail) == ("cyn", "exported", "audit log, what decided")
    assert sign_in("reviewer").get("/audit/export").status_code == 403


DETAILS = {
    ("decided", "confirmed, with 2 more"): "AI-generated, with 2 more",
    ("decided", "dismissed"): "real",
    ("judged_sample", "sample 3: fake"): "sample 3: AI-generated",
    ("restricted", "minor"): "leads only: shows a minor",
    ("restricted", "lifted"): "opened to all reviewers",
    ("listed", "3 cases"): "3 cases",
    ("signed_out", None): "",
    ("a_later_release", "x"): "x",
}


@pytest.mark.parametrize("entry", DETAILS)
def test_details_use_the_words_of_the_console(entry: tuple[str, str | None]) -> None:
    assert AuditLine.of(AuditEntry(who="ada", what=entry[0], detail=entry[1])).detail == DETAILS[entry]


def test_every_action_that_is_logged_has_words_of_its_own() -> None:
    """Codes are the third argument of `audit.log`; some are made of a kind of picture."""
    logged = set()
    for path in (Path(__file__).parents[5] / "db").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("audit.log", "log") and len(node.args) > 2:
                logged |= {each.value for each in ast.walk(node.args[2]) if isinstance(each, ast.Constant)}
    kinds = {f"{did}_{kind}" for did in ("saw", "asked", "prefetched") for kind in ("photo", "original", "heatmap")}
    codes = {str(code) for code in logged if not str(code).endswith("_")}
    assert (codes | kinds) - set(WORDS) == set()
    assert len(set(WORDS.values())) == len(WORDS)
    assert max(map(len, WORDS)) <= 32


def test_auditors_download_decisions_and_statements_and_read_the_counts(
    sign_in: Open, open_case: OpenCase, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    case_id = open_case("ada")
    with database.writing() as session:
        reviews.decide_case(session, Decision(case_id, 1, "pat", "confirmed"))
    cyn = sign_in("auditor", "cyn")
    (row,) = csv.DictReader(io.StringIO(cyn.get("/exports/decisions").text))
    assert (row["account"], row["decision"]) == ("ada", "confirmed")
    assert cyn.get("/exports/decisions?format=xml").status_code == 400
    assert cyn.get("/exports/decisions?since=2026-02-01&until=2026-01-01").status_code == 400
    assert cyn.get("/exports/decisions?until=2020-01-02&since=2020-01-01").text.startswith("decision_id,")
    refused = cyn.get("/exports/statements")
    assert "UNMASK_DSA_GROUND and UNMASK_DSA_EXPLANATION" in refused.text
    monkeypatch.setenv("UNMASK_DSA_GROUND", "Rule 3")
    monkeypatch.setenv("UNMASK_DSA_EXPLANATION", "No masks.")
    (line,) = cyn.get("/exports/statements").text.splitlines()
    assert len(json.loads(line)["statements"]) == 1
    assert "Transparency report" in cyn.get("/exports?since=2026-01-01").text
    assert "Choose a period" in cyn.get("/exports").text
    assert sign_in("reviewer").get("/exports").status_code == 403
