"""What stands beside a case: the team's comments on it, and what the platform says of its account."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db.errors import DbError, NotFoundError
from db.schema import FACTS_LENGTH, AccountFacts, Case, Comment
from db.schema.clock import moment
from db.store.dialect import insert
from db.store.ids import check_id

COMMENT_LENGTH = 4000
#: A list or object within the facts is shown as JSON of at most this many characters.
_VALUE_LENGTH = 500


def add_comment(session: Session, case_id: int, author: str, text: str) -> None:
    """Add a comment for the team; it decides nothing. Raises `DbError` without text, and `NotFoundError`."""
    text = text.strip()
    if not text:
        raise DbError("the comment is empty: write something")
    if len(text) > COMMENT_LENGTH:
        raise DbError(f"the comment has {len(text):,} characters: use at most {COMMENT_LENGTH:,}")
    case = session.get(Case, case_id)
    if case is None or case.account_id is None:
        raise NotFoundError(f"case {case_id} does not exist, or its account was erased")
    session.add(Comment(case_id=case_id, author=check_id("author", author), text=text))
    session.flush()


def list_comments(session: Session, case_id: int) -> list[Comment]:
    """A case's comments, oldest first."""
    return list(session.scalars(select(Comment).where(Comment.case_id == case_id).order_by(Comment.id)))


def set_facts(session: Session, account_id: str, facts: Mapping[str, Any]) -> None:
    """Record what the platform says of an account, in place of what it said before; raises `DbError` if too long."""
    text = json.dumps(facts, ensure_ascii=False)
    if len(text) > FACTS_LENGTH:
        raise DbError(f"the facts have {len(text):,} characters: send at most {FACTS_LENGTH:,}")
    values = {"facts": text, "changed_at": moment()}
    statement = insert(session, AccountFacts).values(account_id=check_id("account_id", account_id), **values)
    session.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))


def delete_facts(session: Session, account_id: str) -> bool:
    """Delete the facts about an account; returns whether there were any."""
    gone = delete(AccountFacts).where(AccountFacts.account_id == account_id).returning(AccountFacts.account_id)
    return session.scalar(gone) is not None


def account_facts(session: Session, account_id: str | None) -> tuple[list[tuple[str, str]], datetime | None]:
    """The facts as (name, value) in words, and when the platform sent them; nothing where it sent none."""
    row = session.get(AccountFacts, account_id) if account_id is not None else None
    if row is None:
        return [], None
    try:
        found = json.loads(row.facts)
    except ValueError:  # other programs write this table, too
        found = row.facts
    pairs = found.items() if isinstance(found, dict) else [("", found)]
    return [(str(name), _in_words(value)) for name, value in pairs], row.changed_at


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_LENGTH else text[:_VALUE_LENGTH] + " …"
