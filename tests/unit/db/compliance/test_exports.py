"""Decisions for other programs, statements of reasons that the EU's database would take, and counts for reports."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from db.commands.review import review_group
from db.compliance import decisions, statements, transparency
from db.compliance.period import Period
from db.compliance.statement import problems
from db.compliance.statements import DsaSettings
from db.errors import DbError, SettingsError
from db.review import reviews
from db.review.reviews import Decision
from db.schema import Case
from db.store.session import Database

OpenCase = Callable[..., int]
TODAY = datetime.now(UTC).date()
PERIOD = Period(TODAY - timedelta(days=1), TODAY + timedelta(days=1))
DSA = DsaSettings(dsa_ground="Rule 3", dsa_explanation="Profile photos show the person whose profile it is.")


@pytest.fixture
def decided(database: Database, open_case: OpenCase) -> dict[str, int]:
    """Cases that were confirmed, dismissed, undone, and confirmed and then dismissed upon an appeal."""
    ids = {name: open_case(name) for name in ("fake", "real", "undone", "=cmd|calc")}
    with database.writing() as session:
        for name, case_id in ids.items():
            decision = "dismissed" if name == "real" else "confirmed"
            reviews.decide_case(session, Decision(case_id, 1, "ada", decision, "artefacts", "@note"))
        reviews.undo_decision(session, ids["undone"], 2, "ada")
        reviews.appeal_decision(session, ids["=cmd|calc"], 2, "cyn", "it is me")
        reviews.decide_case(session, Decision(ids["=cmd|calc"], 3, "bob", "dismissed"))
    return ids


def test_every_decision_of_the_period_is_a_row_and_an_undone_one_says_so(
    database: Database, decided: dict[str, int], tmp_path: Path
) -> None:
    with database.reading() as session:
        rows = list(decisions.read_decisions(session, PERIOD))
        assert [(row["decision"], row["undone"], row["appealed"]) for row in rows] == [
            ("confirmed", False, False),
            ("dismissed", False, False),
            ("confirmed", True, False),
            ("confirmed", False, True),
            ("dismissed", False, False),
        ]
        assert list(decisions.read_decisions(session, Period(TODAY - timedelta(9), TODAY - timedelta(8)))) == []
        assert list(decisions.read_decisions(session, PERIOD, "vip")) == []
    assert rows[0]["case"] == decided["fake"]
    decisions.write_parquet(rows, str(tmp_path / "d.parquet"))
    table = pq.read_table(tmp_path / "d.parquet")
    assert (table.num_rows, table.column("decided_at").to_pylist()[0]) == (5, rows[0]["decided_at"])
    assert [row["case"] for row in table.to_pylist()] == [row["case"] for row in rows]


def test_a_spreadsheet_calculates_nothing_of_what_accounts_and_people_wrote(
    database: Database, decided: dict[str, int]
) -> None:
    out, lines = io.StringIO(), io.StringIO()
    with database.reading() as session:
        rows = list(decisions.read_decisions(session, PERIOD))
    assert (decisions.write_csv(rows, out), decisions.write_jsonl(rows, lines)) == (5, 5)
    read = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert (read[3]["account"], read[0]["note"]) == ("'=cmd|calc", "'@note")
    assert json.loads(lines.getvalue().splitlines()[3])["account"] == "=cmd|calc"
    assert len(decided) == 4


def test_a_confirmed_case_has_one_statement_which_the_database_would_take(
    database: Database, decided: dict[str, int]
) -> None:
    with database.reading() as session:
        found = list(statements.read_statements(session, PERIOD, DSA))
    assert [one.puid.split("-")[1] for one in found] == [str(decided["fake"])]  # reversed and undone ones have none
    (line,) = statements.requests(found)
    document = json.loads(line)["statements"][0]
    assert problems(document) == []
    assert list(statements.check_lines([line])) == []
    assert {name: document[name] for name in ("automated_detection", "automated_decision", "content_type")} == {
        "automated_detection": "Yes",
        "automated_decision": "AUTOMATED_DECISION_NOT_AUTOMATED",
        "content_type": ["CONTENT_TYPE_SYNTHETIC_MEDIA"],
    }
    assert (document["application_date"], document["content_date"]) == (str(TODAY), str(TODAY))
    assert len(document["territorial_scope"]) == 30
    assert "fake" not in line.replace("CONTENT_TYPE", "")  # no account's name: nothing personal leaves


def test_a_thousand_statements_are_ten_requests(database: Database, decided: dict[str, int]) -> None:
    with database.reading() as session:
        (one,) = statements.read_statements(session, PERIOD, DSA)
    assert [len(json.loads(line)["statements"]) for line in statements.requests([one] * 250)] == [100, 100, 50]
    assert decided


BAD: dict[str, dict[str, Any]] = {
    "puid": {"puid": "has a space"},
    "one of decision_visibility": {"decision_visibility": None},
    "decision_visibility_other is missing": {"decision_visibility": ["DECISION_VISIBILITY_OTHER"]},
    "incompatible_content_ground is missing": {"incompatible_content_ground": None},
    "illegal_content_legal_ground is missing": {"decision_ground": "DECISION_GROUND_ILLEGAL_CONTENT"},
    "content_type": {"content_type": []},
    "content_type_other is missing": {"content_type": ["CONTENT_TYPE_OTHER"]},
    "category": {"category": "STATEMENT_CATEGORY_MADE_UP"},
    "US, which is not in the EEA": {"territorial_scope": ["DE", "US"]},
    "content_date": {"content_date": "31.1.2026"},
    "content_date is before 2000": {"content_date": "1999-12-31"},
    "end_date_account_restriction is before": {"end_date_account_restriction": "2001-01-01"},
    "decision_facts": {"decision_facts": "x" * 5001},
    "automated_decision": {"automated_decision": "No"},
    "account_id": {"account_id": "ada"},
}


@pytest.mark.parametrize("why", BAD)
def test_what_the_database_would_refuse_is_named(database: Database, decided: dict[str, int], why: str) -> None:
    with database.reading() as session:
        (one,) = statements.requests(statements.read_statements(session, PERIOD, DSA))
    good = json.loads(one)["statements"][0]
    found = problems({name: value for name, value in (good | BAD[why]).items() if value is not None})
    assert why in "; ".join(found)
    assert decided


def test_settings_that_make_bad_statements_are_named_before_anything_is_written(
    database: Database, decided: dict[str, int]
) -> None:
    with database.reading() as session:
        with pytest.raises(SettingsError, match="UNMASK_DSA_GROUND"):
            list(statements.read_statements(session, PERIOD, DsaSettings()))
        bad = DSA.model_copy(update={"dsa_category": "X"})
        with pytest.raises(DbError, match="category"):
            list(statements.read_statements(session, PERIOD, bad))
    assert decided


def test_lines_that_are_no_requests_are_named() -> None:
    found = list(statements.check_lines(["nonsense", "[]", '{"statements": [1]}']))
    assert [line.partition(":")[0] for line in found] == ["line 1", "line 2", "line 3, statement 1 (None)"]


def test_a_period_is_counted_for_the_report(database: Database, decided: dict[str, int]) -> None:
    with database.reading() as session:
        found = transparency.count_period(session, PERIOD)
        nothing = transparency.count_period(session, Period(TODAY - timedelta(9), TODAY - timedelta(8)))
        assert session.get_one(Case, decided["real"]).state == "dismissed"
    assert (found.photos_scored, found.photos_flagged, found.cases_opened) == (4, 4, 4)
    assert (found.confirmed, found.dismissed, found.undone) == (2, 2, 1)
    assert (found.appeals, found.appeals_reversed) == (1, 1)
    assert found.confirmed_share is not None
    assert found.confirmed_share.value == 0.5
    assert (nothing.confirmed_share, nothing.median_hours) == (None, None)


@pytest.mark.parametrize(("since", "until"), [("x", "2026-01-01"), ("2026-01-02", "2026-01-01")])
def test_a_period_that_is_none_is_refused(since: str, until: str) -> None:
    with pytest.raises(DbError, match="period"):
        Period.parse(since, until)


def test_the_commands_write_check_and_count(
    database: Database, decided: dict[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    monkeypatch.setenv("UNMASK_ACTOR", "cyn")
    monkeypatch.setenv("UNMASK_DSA_GROUND", "Rule 3")
    monkeypatch.setenv("UNMASK_DSA_EXPLANATION", "No masks.")
    days = ["--since", str(PERIOD.since), "--until", str(PERIOD.until)]
    out = tmp_path / "out"

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(review_group, [*arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert run("decisions", *days).count("\n") == 6
    assert len(run("decisions", *days, "--format", "jsonl").splitlines()) == 5
    run("decisions", *days, "--format", "parquet", "--out", str(out))
    assert pq.read_table(out).num_rows == 5
    run("statements", *days, "--out", str(out))
    run("statements", "--check", str(out))
    assert json.loads(run("transparency", *days, "--json"))[0]["appeals"] == 1
    out.write_text(out.read_text().replace("STATEMENT_CATEGORY_OTHER_VIOLATION_TC", "X"))
    refused = CliRunner().invoke(review_group, ["statements", "--check", str(out)])
    assert (refused.exit_code, "category" in refused.stdout) == (1, True)
    assert decided
