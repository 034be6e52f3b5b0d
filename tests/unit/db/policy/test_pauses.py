"""Flagging and scoring are paused by somebody, for a reason, until somebody resumes."""

import pytest

from db.errors import ConflictError, DbError
from db.policy import pauses
from db.policy.attribution import ChangeAuthor
from db.store.session import Database

ADA = ChangeAuthor("ada", "a bad model")


def test_what_is_paused_says_by_whom_and_why_until_it_is_resumed(database: Database) -> None:
    with database.writing() as session:
        pauses.pause(session, "flagging", ADA)
        pauses.pause(session, "scoring", ADA)
        pauses.resume(session, "scoring", ChangeAuthor("bo"))
    with database.reading() as session:
        standing = pauses.current_pauses(session)
    assert {what: (row.author, row.reason) for what, row in standing.items()} == {"flagging": ("ada", "a bad model")}


def test_a_pause_needs_a_reason(database: Database) -> None:
    with pytest.raises(DbError, match="a pause of scoring needs a --reason"), database.writing() as session:
        pauses.pause(session, "scoring", ChangeAuthor("ada", " "))


def test_nobody_pauses_what_is_paused_or_resumes_what_runs(database: Database) -> None:
    with database.writing() as session:
        with pytest.raises(ConflictError, match="scoring is not paused"):
            pauses.resume(session, "scoring", ADA)
        pauses.pause(session, "scoring", ADA)
        with pytest.raises(ConflictError, match="scoring is already paused, by ada: a bad model"):
            pauses.pause(session, "scoring", ChangeAuthor("bo", "the same"))
