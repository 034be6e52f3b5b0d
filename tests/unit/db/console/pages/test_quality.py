"""Quality pages: for leads and auditors the team, for each person their own figures."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from db.schema import AuditEntry, Sample, Verdict
from db.store.session import Database
from tests.unit.db.console.pages.test_samples import sample_ids

__all__ = ["sample_ids"]  # a fixture


def test_pages_are_for_whom_they_are(
    database: Database,
    sample_ids: list[int],
    sign_in: Callable[..., Any],
) -> None:
    with database.writing() as session:
        session.add(Verdict(sample_id=sample_ids[0], reviewer="ada", verdict="fake"))
        session.get_one(Sample, sample_ids[0]).judged = True
    lee, pat, cyn = sign_in("lead", "lee"), sign_in("reviewer", "pat"), sign_in("auditor", "cyn")
    assert lee.post("/quality/golden", sample=sample_ids[0], verdict="fake").status_code == 303
    assert lee.post("/quality/share", percent="5").status_code == 303
    assert lee.post("/quality/share", percent="many").status_code == 400
    page = lee.get("/quality").text
    assert 'value="5"' in page
    assert "Fleiss" in page
    assert lee.get("/quality/reviewers/ada").status_code == 404  # nobody who was added here
    assert "Figures of <bdi>pat" in lee.get("/quality/reviewers/pat").text
    assert "Your figures" in pat.get("/quality/me").text
    refused = [pat.get("/quality/reviewers/lee"), cyn.get("/quality/reviewers/pat"), pat.get("/quality")]
    refused += [cyn.get("/quality/me"), cyn.post("/quality/share", percent="5")]
    assert [answer.status_code for answer in refused] == [403] * 5
    assert "Golden items" in cyn.get("/quality").text
    assert "Policy <bdi>default" in cyn.get("/policies/default").text
    assert cyn.get("/policies/none").status_code == 404
    with database.reading() as session:
        looked = session.scalars(select(AuditEntry).where(AuditEntry.what == "read_figures")).all()
    assert [(entry.who, entry.detail) for entry in looked] == [("lee", "pat")]
