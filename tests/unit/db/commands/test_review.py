"""A reviewer in a terminal sees what they need, and is held to the same rules."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from db.access import audit, people
from db.commands.cases import cases_group as cases
from db.commands.review import review_group as review
from db.errors import ConflictError, DbError, DeniedError, HeldError, SecondPersonError, StaleError
from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.schema import ModelVersion, Review
from db.store.session import Database
from db.work import images
from db.work.images import NewImage

Asked = Callable[..., Any]
Run = Callable[..., Any]


@pytest.fixture
def flagged(database: Database) -> Database:
    """Two accounts with a flagged photo each, of a model that knows four real photos; one photo more is not."""
    with database.writing() as session:
        card = {"reference": {"name": "faces", "scores": [0.1, 0.2, 0.3, 0.85]}}
        version = versions.register(session, "first", "1" * 64, "unmask-1", card)
        thresholds.set_value(session, version.id, "default", 0.5, "pat", "")
        found = {"ada": 0.9, "bob": 0.8, "cy": 0.1}
        images.add_images(session, [NewImage(name, name, f"{name}.jpg") for name in found], -60)
        batch = [Scored(name, "default", score, "f" * 64, 1000, 640, 480) for name, score in found.items()]
        scores.record(session, batch, Provenance(version.id, "eager-fp32", "cpu"))
    return database


@pytest.fixture(autouse=True)
def _seeing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_BLIND_SHARE", "0")


@pytest.mark.usefixtures("flagged")
def test_the_next_case_has_everything_that_a_decision_needs(run: Run, asked: Asked) -> None:
    case = asked(review, "next")
    assert (case["account"], case["state"], case["held_by"], case["blind"]) == ("ada", "open", "ada", False)
    assert case["photos"] == [
        {
            "image": "ada",
            "url": "ada.jpg",
            "score": 0.9,
            "threshold": 0.5,
            "model": "first",
            "means": "fewer than 1 in 1.8 real photos looks like this (95 % sure; none of the 4 of 'faces')",
            "flagged_by": "score",
            "evidence": None,
            "score_low": None,
            "score_high": None,
        }
    ]
    assert [event["what"] for event in case["events"]] == ["opened", "flagged"]
    said = run(review, "next")
    assert "ada.jpg" in said.stdout
    assert f"unmask review decide {case['case']} confirmed|dismissed|unsure --version {case['version']}" in said.stderr


@pytest.mark.usefixtures("flagged")
def test_a_decision_and_its_undo(run: Run, asked: Asked) -> None:
    case = asked(review, "next")
    where, version = str(case["case"]), str(case["version"])
    (row,) = asked(review, "decide", where, "confirmed", "--version", version, "--reason", "artefacts", "--note", "x")
    assert row == {"case": case["case"], "state": "confirmed", "version": case["version"] + 1, "second_person": False}
    with pytest.raises(StaleError, match="decided: AI-generated, reason artefacts, note: x by ada"):
        run(review, "decide", where, "dismissed", "--version", version)
    (row,) = asked(review, "undo", where, "--version", str(row["version"]))
    assert row["state"] == "open"
    assert [event["what"] for event in asked(review, "show", where)["events"]][2:] == ["confirmed", "undone"]


@pytest.mark.usefixtures("flagged")
def test_the_queue_ends(run: Run, asked: Asked) -> None:
    for _ in range(2):
        case = asked(review, "next", "--order", "score", "--policy", "default")
        asked(review, "decide", str(case["case"]), "unsure", "--version", str(case["version"]))
    assert asked(review, "next") is None
    assert run(review, "next").stdout == "no case is free for you\n"


@pytest.mark.usefixtures("flagged")
def test_an_appeal_goes_to_somebody_else(asked: Asked, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    case = asked(review, "next")
    where = str(case["case"])
    (row,) = asked(review, "decide", where, "confirmed", "--version", str(case["version"]))
    (row,) = asked(review, "appeal", where, "--version", str(row["version"]), "--reason", "its owner says so")
    assert row["state"] == "open"
    with pytest.raises(SecondPersonError):
        run(review, "decide", where, "confirmed", "--version", str(row["version"]))
    monkeypatch.setenv("UNMASK_ACTOR", "bob")
    (row,) = asked(review, "decide", where, "dismissed", "--version", str(row["version"]))
    assert row["state"] == "dismissed"


def test_a_blind_case_shows_no_score_and_that_is_recorded(
    flagged: Database, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_BLIND_SHARE", "1")
    case = asked(review, "next")
    assert (case["blind"], case["photos"]) == (True, [{"image": "ada", "url": "ada.jpg"}])
    assert not [event for event in case["events"] if "0.9" in event["text"]]
    asked(review, "decide", str(case["case"]), "dismissed", "--version", str(case["version"]))
    with flagged.reading() as session:
        assert session.scalars(select(Review.blind)).all() == [True]
    assert asked(review, "show", str(case["case"]))["photos"][0]["score"] == 0.9


@pytest.mark.usefixtures("flagged")
def test_a_reason_that_the_platform_did_not_choose_is_refused(
    asked: Asked, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_REVIEW_REASONS", "ears, eyes")
    case = asked(review, "next")
    with pytest.raises(DbError, match="reason 'nose' is not one of ears, eyes"):
        run(review, "decide", str(case["case"]), "confirmed", "--version", str(case["version"]), "--reason", "nose")


@pytest.mark.usefixtures("flagged")
def test_sampled_photos_are_drawn_and_judged_without_their_scores(asked: Asked, run: Run) -> None:
    drawn = asked(review, "draw")
    assert [(row["stratum"], row["population"], row["drawn"]) for row in drawn] == [
        ("flagged", 2, 2), ("below", 0, 0), ("unflagged", 1, 1),
    ]  # fmt: skip
    assert run(review, "draw").stdout == "no photo has been scored since the last draw\n"
    for left in (2, 1, 0):
        photo = asked(review, "sample")
        assert set(photo) == {"sample", "image", "url"}
        (row,) = asked(review, "judge", str(photo["sample"]), "real")
        assert row == {"sample": photo["sample"], "verdict": "real", "waiting": left}
    assert asked(review, "sample") is None
    assert run(review, "sample").stdout == "no sampled photo is free for you\n"


def test_a_model_without_real_photos_says_nothing_of_rarity(flagged: Database, asked: Asked) -> None:
    with flagged.writing() as session:
        session.execute(update(ModelVersion).values(card={}))
    assert asked(review, "next")["photos"][0]["means"] is None


@pytest.mark.usefixtures("flagged")
def test_a_face_on_many_accounts_is_decided_once_by_its_number(asked: Asked, run: Run) -> None:
    first = asked(review, "next")
    ids = [first["case"], first["case"] + 1]
    cases = [f"{case_id}:{asked(review, 'show', str(case_id))['version']}" for case_id in ids]
    with pytest.raises(ConflictError, match="this decides 2 cases at once: confirm the number with --confirm 2"):
        run(review, "bulk", "confirmed", *cases)
    assert [row["state"] for row in asked(review, "bulk", "confirmed", *cases, "--confirm", "2")] == ["confirmed"] * 2
    assert "'7' is not CASE:VERSION" in run(review, "bulk", "confirmed", "7").stderr


def test_what_is_shown_blind_is_decided_blind_also_with_others(
    flagged: Database, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_BLIND_SHARE", "1")
    shown = asked(review, "next")
    asked(review, "bulk", "confirmed", f"{shown['case']}:{shown['version']}", "--confirm", "1")
    with flagged.reading() as session:
        assert session.scalars(select(Review.blind)).all() == [True]


@pytest.mark.usefixtures("flagged")
def test_a_case_is_held_and_left_and_only_by_whoever_holds_it(
    asked: Asked, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(asked(review, "next")["case"])
    asked(review, "leave", where)
    with pytest.raises(ConflictError, match="ada does not hold case"):
        run(review, "leave", where)
    monkeypatch.setenv("UNMASK_ACTOR", "bob")
    asked(review, "hold", where)
    monkeypatch.setenv("UNMASK_ACTOR", "ada")
    with pytest.raises(HeldError, match="is held by bob"):
        run(review, "hold", where)


@pytest.mark.usefixtures("flagged")
def test_decisions_that_were_made_together_are_undone_together_or_not_at_all(asked: Asked, run: Run) -> None:
    chosen = [case["case"] for case in asked(cases, "list")]
    asked(review, "bulk", "confirmed", *(f"{one}:1" for one in chosen), "--confirm", "2")
    with pytest.raises(StaleError):
        run(review, "undo", str(chosen[0]), "--version", "2", "--with", f"{chosen[1]}:1")
    rows = asked(review, "undo", str(chosen[0]), "--version", "2", "--with", f"{chosen[1]}:2")
    assert [row["state"] for row in rows] == ["open", "open"]
    for one in chosen:
        asked(review, "decide", str(one), "dismissed", "--version", "3")
    with pytest.raises(ConflictError, match=f"case {chosen[1]} was not decided together with case {chosen[0]}"):
        run(review, "undo", str(chosen[0]), "--version", "4", "--with", f"{chosen[1]}:4")


def test_a_reviewer_restricts_a_case_and_only_a_lead_lifts_that(
    flagged: Database, asked: Asked, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flagged.writing() as session:
        for name, role in {"ada": "reviewer", "lee": "lead", "cyn": "auditor"}.items():
            people.add_person(session, name, role)
    (where, *_) = [str(case["case"]) for case in asked(cases, "list")]
    asked(review, "restrict", where, "--reason", "minor")
    for refused in (("unrestrict", where), ("hold", where), ("decide", where, "unsure", "--version", "1")):
        with pytest.raises(DeniedError):
            run(review, *refused)
    monkeypatch.setenv("UNMASK_ACTOR", "cyn")
    with pytest.raises(DeniedError):
        run(review, "restrict", where, "--reason", "minor")
    monkeypatch.setenv("UNMASK_ACTOR", "lee")
    asked(review, "unrestrict", where)
    with pytest.raises(ConflictError, match="is not restricted"):
        run(review, "unrestrict", where)
    with flagged.reading() as session:
        logged = [
            (entry.who, entry.detail) for entry in audit.find_entries(session, audit.EntryFilter(what="restricted"), 9)
        ]
    assert logged == [("lee", "lifted"), ("ada", "minor")]


@pytest.mark.usefixtures("flagged")
def test_a_verdict_is_undone_by_whoever_gave_it(asked: Asked, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(review, "draw")
    sample = str(asked(review, "sample")["sample"])
    asked(review, "judge", sample, "fake")
    monkeypatch.setenv("UNMASK_ACTOR", "bob")
    with pytest.raises(ConflictError, match="is not bob's"):
        run(review, "undo-verdict", sample)
    monkeypatch.setenv("UNMASK_ACTOR", "ada")
    (row,) = asked(review, "undo-verdict", sample)
    assert (row["sample"], row["verdict"]) == (int(sample), None)
    asked(review, "judge", sample, "real")
