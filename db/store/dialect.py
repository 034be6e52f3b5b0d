"""Many rows in one statement, in either dialect: ``INSERT ... ON CONFLICT`` and ``UPDATE ... FROM``."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, JSON, ColumnClause, Text, bindparam, cast, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from db.schema import Base


def insert(session: Session, table: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with ``ON CONFLICT``, in the session's dialect: SQLAlchemy has one for each."""
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def given(session: Session, columns: Sequence[ColumnClause[Any]], rows: Sequence[tuple[Any, ...]]) -> CTE:
    """Rows to update from, as one JSON parameter.

    SQL's VALUES would make it a new statement each time, which costs more to compile than to run.
    """
    names = [each.name for each in columns]
    document = bindparam("given", json.dumps([dict(zip(names, row, strict=True)) for row in rows]), Text)
    if session.get_bind().dialect.name == "postgresql":
        record = func.json_to_recordset(cast(document, JSON)).table_valued(*columns)
        return select(record.render_derived(name="given_rows", with_types=True)).cte("given")
    each = func.json_each(document).table_valued("value")
    fields = [cast(func.json_extract(each.c.value, f"$.{c.name}"), c.type).label(c.name) for c in columns]
    return select(*fields).cte("given")
