"""Every event of a case, in order, by whom and in words."""

from collections.abc import Callable

import pytest

from db.errors import NotFoundError
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget, set_threshold
from db.policy.threshold_choice import ThresholdChoice
from db.privacy import erasure
from db.review import reviews
from db.review.case_timeline import case_timeline
from db.schema import Case, Review
from db.store.session import Database

OpenCase = Callable[..., int]
Decide = Callable[..., Review]


def told(database: Database, case_id: int) -> list[tuple[str | None, str, str]]:
    with database.reading() as session:
        events = case_timeline(session, case_id)
    assert [event.at for event in events] == sorted(event.at for event in events)
    return [(event.who, event.what, event.text) for event in events]


def test_a_whole_story_is_told_in_order(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    decide(case_id, "ada", "unsure", note="blurred")
    open_case(photo=2, score=0.75)
    decide(case_id, "bob", "confirmed", reason="artefacts", blind=True)
    with database.writing() as session:
        case = session.get_one(Case, case_id)
        reviews.undo_decision(session, case_id, case.version, "lee", lead=True)
    decide(case_id, "cy", "dismissed")
    with database.writing() as session:
        reviews.appeal_decision(session, case_id, session.get_one(Case, case_id).version, "lee", "look again")
    flagged = "flagged: model first scored it {}, threshold 1 of policy default is 0.5000, set by pat"
    assert [(who, what, text.replace(flag_id(text), "threshold 1")) for who, what, text in told(database, case_id)] == [
        (None, "opened", "opened under policy default"),
        (None, "flagged", f"photo account-1 {flagged.format('0.9000')}"),
        ("ada", "unsure", "unsure, note: blurred"),
        (None, "flagged", f"photo account-2 {flagged.format('0.7500')}"),
        ("bob", "confirmed", "decided: AI-generated, reason artefacts, blind"),
        ("lee", "undone", "undid the last decision"),
        ("cy", "dismissed", "decided: real"),
        ("lee", "appealed", "appealed: look again"),
    ]


def test_a_blind_story_has_no_score(database: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    with database.reading() as session:
        assert [event.text for event in case_timeline(session, case_id, blind=True)][1:] == ["photo account-1 flagged"]


def test_a_case_that_was_withdrawn_says_why(database: Database, open_case: OpenCase, version_id: int) -> None:
    case_id = open_case()
    with database.writing() as session:
        set_threshold(
            session, version_id, "default", ThresholdChoice(0.95), ChangeAuthor("pat", "too many"), Budget(10)
        )
    assert told(database, case_id)[-1] == (None, "withdrawn", "withdrawn: pat: too many (threshold 0.95)")


def test_a_case_that_was_erased_says_so(database: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    erasure.erase_account(database, "account")
    assert told(database, case_id)[-1] == (None, "erased", "account erased")


def test_a_case_that_is_not_there_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError, match="case 4711 does not exist"), database.reading() as session:
        case_timeline(session, 4711)


def flag_id(text: str) -> str:
    """Which threshold the event names: the database numbers them."""
    words = text.split()
    return " ".join(words[words.index("threshold") :][:2]) if "threshold" in words else "threshold"
