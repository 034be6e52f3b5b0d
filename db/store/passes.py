"""The one way past "append-only": a transaction that says so."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import delete
from sqlalchemy.orm import Session

from db.schema import RetentionPass


@contextmanager
def erasing(session: Session) -> Iterator[None]:
    """Within this block, and this transaction, scores may be deleted and notes erased; nobody else sees the pass."""
    session.add(RetentionPass(name="retention"))
    session.flush()
    yield
    session.execute(delete(RetentionPass))
