"""Every event of a case, in order, by whom and in words."""

from collections.abc import Callable

import pytest

from db.privacy import accounts
from db.review import reviews
from db.policy.changes import Budget
from db.errors import NotFoundError
from db.policy.policies import set_threshold
from db.schema import Case, Review
from db.store.session import Database
from db.policy.signature import Signature
from db.policy.thresholds import Choice
from db.review.timeline import timeline

OpenCase = Callable[..., int]
Decide = Callable[..., Review]


def told(database: Database, case_id: int) -> list[tuple[str | None, str, str]]:
    with database.reading() as session:
        events = timeline(session, case_id)
    assert [event.at for event in events] == sorted(event.at for event in events)
    return [(event.who, event.what, event.text) for event in events]


def test_a_whole_story_is_told_in_order(database: Database, open_case: OpenCase, decide: Decide) -> None:
    case_id = open_case()
    decide(case_id, "ada", "unsure", note="blurred")
    open_case(photo=2, score=0.75)
    decide(case_id, "bob", "confirmed", reason="artefacts", blind=True)
    with database.writing() as session:
        case = session.get_one(Case, case_id)
        reviews.undo(session, case_id, case.version, "lee", lead=True)
    decide(case_id, "cy", "dismissed")
    with database.writing() as session:
        reviews.appeal(session, case_id, session.get_one(Case, case_id).version, "lee", "look again")
    flagged = "flagged: model first scored it {}, threshold 1 of policy default is 0.5000, set by pat"
    assert [(who, what, text.replace(flag_id(text), "threshold 1")) for who, what, text in told(database, case_id)] == [
        (None, "opened", "opened under policy default"),
        (None, "flagged", f"photo account-1 {flagged.format('0.9000')}"),
        ("ada", "unsure", "unsure, note: blurred"),
        (None, "flagged", f"photo account-2 {flagged.format('0.7500')}"),
        ("bob", "confirmed", "confirmed: AI-generated, reason artefacts, saw no scores"),
        ("lee", "undone", "took the last decision back"),
        ("cy", "dismissed", "dismissed: real"),
        ("lee", "appealed", "appealed: look again"),
    ]


def test_a_blind_story_has_no_score(database: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    with database.reading() as session:
        assert [event.text for event in timeline(session, case_id, blind=True)][1:] == ["photo account-1 flagged"]


def test_a_case_that_was_withdrawn_says_why(database: Database, open_case: OpenCase, version_id: int) -> None:
    case_id = open_case()
    with database.writing() as session:
        set_threshold(session, version_id, "default", Choice(0.95), Signature("pat", "too many"), Budget(10))
    assert told(database, case_id)[-1] == (None, "withdrawn", "withdrawn: pat: too many (threshold 0.95)")


def test_a_case_that_was_erased_says_so(database: Database, open_case: OpenCase) -> None:
    case_id = open_case()
    accounts.forget(database, "account")
    assert told(database, case_id)[-1] == (None, "erased", "account erased")


def test_a_case_that_is_not_there_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError, match="case 4711 is not in the record"), database.reading() as session:
        timeline(session, 4711)


def flag_id(text: str) -> str:
    """Which threshold the event names: the database numbers them."""
    words = text.split()
    return " ".join(words[words.index("threshold") :][:2]) if "threshold" in words else "threshold"
