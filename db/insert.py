"""Many rows in one statement: ``INSERT ... ON CONFLICT``, which SQLAlchemy spells twice, and ``UPDATE ... FROM``."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, ColumnClause, values
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.schema import Base


def insert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that understands conflicts, in the session's dialect."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def given(columns: Sequence[ColumnClause[Any]], rows: Sequence[tuple[Any, ...]]) -> CTE:
    """Rows to update from; for a CTE, both databases know what its columns are called."""
    return values(*columns, name="given").data(list(rows)).cte("given")
