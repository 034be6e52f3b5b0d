"""An account that is forgotten is gone everywhere, and its scores belong to nobody."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text

from db.commands.account import account
from db.policy import case_changes, scores
from db.policy.scores import Provenance, Scored
from db.privacy import erasure
from db.privacy.erasure import ErasureCounts
from db.schema import Case, Image, PerceptualHash, Preview, Request, Review, Score
from db.store.session import Database
from db.work import images
from db.work.images import Failure

AddImages = Callable[..., list[str]]
pytestmark = pytest.mark.both  # databases can differ here


@pytest.fixture
def known(
    database: Database, version_id: int, set_threshold: Callable[..., int], add_images: AddImages, record: Any
) -> Database:
    """Five images of "ada", two scored and flagged in an open case, one failed, two that wait; and one of "bob"."""
    assert version_id
    set_threshold(0.5)
    add_images("a1", "a2", "a3", "a4", "a5", account_id="ada")
    add_images("b1", account_id="bob")
    record({"a1": 0.9, "a2": 0.8, "b1": 0.7})
    with database.writing() as session:
        images.lease(session, ["a3"], "worker", 300)
        failed = Failure("a3", "not_found", "https://cdn.example.com/ada.jpg is not there")
        images.record_failures(session, [failed], "worker")
        session.add_all(Preview(image_id=i, kind="photo", picture=b"jpeg") for i in ("a1", "a2", "b1"))
        session.add(Request(kind="preview", image_id="a1", author="pat"))
        lost = {"state": "failed", "reason": "not_found", "detail": "'ada/2.jpg' is not below UNMASK_MEDIA_ROOT"}
        session.add(Request(kind="preview", image_id="a2", author="pat", **lost))
    return database


def everything(database: Database) -> str:
    """All that the record holds, as text."""
    with database.reading() as session:
        tables = ("images", "cases", "flags", "scores", "previews", "requests")
        return str([session.execute(text(f"SELECT * FROM {table}")).all() for table in tables])  # noqa: S608


def test_nothing_of_the_account_is_left_and_its_scores_are(known: Database) -> None:
    assert erasure.erase_account(known, "ada") == ErasureCounts(images=5, pictures=2, cases=1)

    with known.reading() as session:
        assert all(row.account_id is row.url is row.detail is row.sha256 is None for row in session.scalars(ours()))
        assert session.get_one(Image, "b1").sha256 is not None
        assert {row.image_id: row.score for row in session.scalars(select(Score))} == {"a1": 0.9, "a2": 0.8, "b1": 0.7}
        assert dict(session.execute(select(Image.id, Image.state)).all()) == {
            "a1": "scored", "a2": "scored", "a3": "failed", "a4": "unusable", "a5": "unusable", "b1": "scored",
        }  # fmt: skip
        assert dict(session.execute(select(Case.account_id, Case.state)).all()) == {
            None: "withdrawn",
            "bob": "open",
        }
        assert session.scalars(select(Preview.image_id).where(Preview.picture.is_not(None))).all() == ["b1"]
        assert session.execute(select(Request.state, Request.reason, Request.detail).order_by(Request.id)).all() == [
            ("failed", "erased", None), ("failed", "not_found", None),
        ]  # fmt: skip
    assert "ada" not in everything(known)


def ours() -> Any:
    return select(Image).where(Image.id != "b1")


def test_what_reviewers_wrote_about_it_is_gone_and_what_they_decided_is_not(
    known: Database, decide: Callable[..., Any]
) -> None:
    with known.reading() as session:
        cases = dict(session.execute(select(Case.account_id, Case.id)).all())
    for account_id, case_id in cases.items():
        decide(case_id, "pat", "confirmed", reason="artefacts", note=f"{account_id} wrote to me")
    erasure.erase_account(known, "ada")
    with known.reading() as session:
        found = session.execute(select(Review.decision, Review.reason, Review.note).order_by(Review.note)).all()
    assert sorted(found, key=str) == [
        ("confirmed", "artefacts", "bob wrote to me"),
        ("confirmed", "artefacts", None),
    ]


def test_a_dry_run_counts_the_same_and_changes_nothing(known: Database) -> None:
    before = everything(known)
    with known.reading() as session:
        assert erasure.preview_erasure(session, "ada") == ErasureCounts(images=5, pictures=2, cases=1)
    assert everything(known) == before


def test_an_interrupted_run_is_finished_by_the_next(known: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    real = erasure.erase_images
    done: list[Any] = []

    def interrupted(session: Any, ids: Any) -> int:
        if done:
            raise KeyboardInterrupt
        done.append(ids)
        return real(session, ids)

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "erase_images", interrupted)
        with pytest.raises(KeyboardInterrupt):
            erasure.erase_account(known, "ada", batch=2)
    with known.reading() as session:
        assert erasure.preview_erasure(session, "ada").images == 3

    assert erasure.erase_account(known, "ada", batch=2) == ErasureCounts(images=3, pictures=0, cases=1)
    assert "ada" not in everything(known)
    assert erasure.erase_account(known, "ada") == ErasureCounts(images=0, pictures=0, cases=0)


def test_a_score_that_arrives_afterwards_is_kept_and_opens_no_case(known: Database, version_id: int) -> None:
    with known.writing() as session:
        images.lease(session, ["a4"], "worker", 300)
    erasure.erase_account(known, "ada")

    with known.writing() as session:
        late = [Scored("a4", "default", 0.99, "f" * 64, 1000, 640, 480, looks=bytes(64))]
        assert scores.record(session, late, Provenance(version_id, "eager-fp32", "cpu")) == ["a4"]

    with known.reading() as session:
        late_image = session.get_one(Image, "a4")
        assert (late_image.state, late_image.sha256) == ("scored", None)
        assert session.scalars(select(Case.account_id).where(Case.state == "open")).all() == ["bob"]
        assert session.scalars(select(PerceptualHash.image_id)).all() == []


@pytest.mark.parametrize("migrated", ["postgresql"], indirect=True)  # on SQLite one waits for the other anyway
def test_a_case_that_a_change_of_thresholds_is_opening_meanwhile_is_closed_too(known: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        with known.writing() as session:
            case_changes.lock_versions(session)
            session.add(Case(account_id="ada", policy="other"))
            session.flush()
            forgetting = pool.submit(erasure.erase_account, known, "ada")
            with pytest.raises(TimeoutError):
                forgetting.result(timeout=1)
        forgetting.result(timeout=30)
    assert "ada" not in everything(known)


def test_the_command_says_what_it_did(known: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", known.url.render_as_string(hide_password=False))
    counts = {"images": 5, "pictures": 2, "cases": 1}
    for options, dry_run in ((["--dry-run"], True), ([], False)):
        result = CliRunner().invoke(account, ["forget", "ada", "--json", *options])
        assert result.exit_code == 0, result.output
        (row,) = json.loads(result.stdout)
        assert row.pop("account") not in ("", "ada")
        assert row == counts | {"dry_run": dry_run}
    assert "ada" not in everything(known)
