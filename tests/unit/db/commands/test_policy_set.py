"""``unmask policy set``: what a policy does with photos whose files say that they are AI-generated."""

from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from sqlalchemy import select

from db.commands.policy import policy
from db.errors import DbError, NotFoundError
from db.schema import AuditEntry
from db.store.session import Database

Asked = Callable[..., Any]


def test_an_action_is_set_listed_and_in_the_audit_log(database: Database, asked: Asked) -> None:
    (row,) = asked(policy, "set", "default", "--on", "provenance=ai:flag", "--reason", "they say so")
    assert (row["name"], row["opened"]) == ("default", 0)
    asked(policy, "set", "default", "--on", "provenance=ai_edited:note", "--reason", "so do these")
    (listed,) = asked(policy, "list")
    assert listed["on"] == {"provenance=ai": "flag", "provenance=ai_edited": "note"}
    with database.reading() as session:
        details = list(session.scalars(select(AuditEntry.detail).where(AuditEntry.what == "policy_set")))
    assert details[0] == "default: provenance=ai:flag: they say so"


@pytest.mark.parametrize(
    ("name", "words", "error", "said"),
    [
        ("gone", "provenance=ai:flag", NotFoundError, "policy 'gone' is unknown"),
        ("default", "provenance=camera:flag", DbError, "is not CONDITION:ACTION: conditions are provenance=ai,"),
    ],
)
def test_a_wrong_name_or_condition_is_refused(
    run: Callable[..., Result], name: str, words: str, error: type[DbError], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(policy, "set", name, "--on", words, "--reason", "a try")
