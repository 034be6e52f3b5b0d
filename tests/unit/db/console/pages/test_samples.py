"""Samples: one photo at a time, without score, account or case, and only while it is kept for whoever looks."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from db.review.effective_reviews import is_standing
from db.schema import Sample, Verdict
from db.store.session import Database

Open = Callable[..., Any]
DRAW = (
    "INSERT INTO draws (id, policy, version_id, threshold_id, stratum, low, high, since, until, population, drawn, "
    "author) VALUES (1, 'default', {version}, {threshold}, 'flagged', 0.5, 1, '2026-01-01', '2026-01-02', 2, 2, 'ada')"
)


@pytest.fixture
def sample_ids(
    database: Database, version_id: int, set_threshold: Callable[..., int], flag: Callable[..., None]
) -> list[int]:
    """Two photos that chance drew."""
    flag("secret account", "a", "b")
    threshold_id = set_threshold(0.5)
    with database.writing() as session:
        session.execute(text(DRAW.format(version=version_id, threshold=threshold_id)))
        found = session.execute(text("SELECT image_id, id FROM scores ORDER BY image_id")).all()
        rows = [
            Sample(draw_id=1, image_id=image_id, score_id=score_id, probability=1.0) for image_id, score_id in found
        ]
        session.add_all(rows)
        session.flush()
        return [row.id for row in rows]


def test_photos_come_one_by_one_and_tell_nothing(
    database: Database, sign_in: Open, sample_ids: list[int], keep_picture: Callable[..., None]
) -> None:
    keep_picture("a")
    first, second = sample_ids
    pat = sign_in("reviewer", "pat")
    assert "<strong>2</strong> wait" in pat.get("/samples").text
    assert pat.post("/samples/next").headers["location"] == f"/samples/{first}"
    page = pat.get(f"/samples/{first}").text
    assert f'<img src="/samples/{first}/photo"' in page
    assert [word in page for word in ("0.9", "secret", "default", "threshold")] == [False] * 4
    assert pat.get(f"/samples/{first}/photo").content.startswith(b"\xff\xd8")
    answer = pat.post(f"/samples/{first}/judge", verdict="fake")
    assert answer.headers["location"] == f"/samples/{second}?judged={first}"
    page = pat.get(f"/samples/{second}?judged={first}").text
    assert "No worker is running" in page
    assert "<strong>AI-generated</strong>" in page
    refused = pat.post(f"/samples/{second}/judge", verdict="real")
    assert (refused.status_code, "has not been on your screen" in refused.text) == (409, True)
    assert (
        pat.post(f"/samples/{second}/judge", verdict="unsure").headers["location"] == f"/samples?done=1&judged={second}"
    )
    with database.reading() as session:
        said = session.execute(select(Verdict.reviewer, Verdict.verdict).order_by(Verdict.id)).all()
    assert said == [("pat", "fake"), ("pat", "unsure")]


def test_nobody_looks_through_samples(sign_in: Open, sample_ids: list[int], keep_picture: Callable[..., None]) -> None:
    keep_picture("a")
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.post("/samples/next")
    for path in (f"/samples/{sample_ids[0]}", f"/samples/{sample_ids[0]}/photo", f"/samples/{sample_ids[0]}/box"):
        assert pat.get(path).status_code == 200
        assert sam.get(path).status_code == 404
    assert sam.post(f"/samples/{sample_ids[0]}/judge", verdict="real").status_code == 409
    assert pat.post(f"/samples/{sample_ids[0]}/judge", verdict="guilty").status_code == 400


def test_a_verdict_is_undone_and_given_again_by_whoever_gave_it(
    database: Database, sign_in: Open, sample_ids: list[int], keep_picture: Callable[..., None]
) -> None:
    keep_picture("a")
    first = sample_ids[0]
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.post("/samples/next")
    pat.get(f"/samples/{first}/photo")
    for verdict in ("fake", "real"):
        pat.post(f"/samples/{first}/judge", verdict=verdict)
        with database.reading() as session:
            assert session.get_one(Sample, first).judged
        assert sam.post(f"/samples/{first}/undo").status_code == 409
        assert pat.post(f"/samples/{first}/undo").headers["location"] == f"/samples/{first}"
        assert pat.post(f"/samples/{first}/undo").status_code == 409
        with database.reading() as session:
            assert not session.get_one(Sample, first).judged
    pat.post(f"/samples/{first}/judge", verdict="fake")
    with database.reading() as session:
        said = session.scalars(select(Verdict.verdict).where(Verdict.sample_id == first).order_by(Verdict.id)).all()
        assert said == ["fake", "undone", "real", "undone", "fake"]
        assert session.scalars(select(Verdict.verdict).where(is_standing())).all() == ["fake"]


def test_a_sample_that_is_left_goes_to_somebody_else(sign_in: Open, sample_ids: list[int]) -> None:
    pat, sam = sign_in("reviewer", "pat"), sign_in("reviewer", "sam")
    pat.post("/samples/next")
    assert pat.post(f"/samples/{sample_ids[0]}/leave").headers["location"] == "/samples"
    assert pat.get(f"/samples/{sample_ids[0]}").status_code == 404
    assert sam.post("/samples/next").headers["location"] == f"/samples/{sample_ids[0]}"
