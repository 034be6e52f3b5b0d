"""Text of rows that other people write: limits, and a type that reads no more of it than the limits allow.

A database without our constraints, or a row from before them, may hold anything: 300 MB of text, and on SQLite bytes,
numbers and text that is not UTF-8. A query must neither load such a value nor fail because of it.
"""

import sqlite3
from typing import Any

from sqlalchemy import ColumnElement, String, Text, TypeDecorator
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

#: Longest URL, in characters.
MAX_URL = 4096
#: Longest value that is read, in bytes: a URL of the longest characters.
MAX_BYTES = 4 * MAX_URL
#: An odd value is shown in hexadecimal if it has no more bytes.
_SHOWN_BYTES = 64
#: From this version on, SQLite knows a text's size without reading it (https://sqlite.org/lang_corefunc.html).
_HAS_OCTET_LENGTH = (3, 43)


class readable(FunctionElement[str]):  # noqa: N801 - named like the SQL function that it is
    """``readable(column)``: its text; in place of a value that is too large or no text, a few words about it."""

    type = Text()
    inherit_cache = True


class RowText(TypeDecorator[str]):
    """A text column of a table that other people write to. Queries read it as `readable`."""

    impl = String
    cache_ok = True

    def column_expression(self, column: ColumnElement[str]) -> ColumnElement[str]:
        """What a query selects in place of the column."""
        return readable(column)


class LongRowText(RowText):
    """The same, where PostgreSQL itself has no limit for the column."""

    impl = Text
    cache_ok = True


@compiles(readable, "postgresql")
def _postgresql(element: readable, compiler: SQLCompiler, **options: Any) -> str:
    column = next(iter(element.clauses))
    text = compiler.process(column, **options)
    if getattr(column.type, "length", None) is not None:  # the database itself holds the limit
        return text
    size = f"octet_length({text})"
    return f"CASE WHEN {size} > {MAX_BYTES} THEN '(' || {size} || ' bytes of text)' ELSE {text} END"


@compiles(readable, "sqlite")
def _sqlite(element: readable, compiler: SQLCompiler, **options: Any) -> str:
    text = compiler.process(element.clauses, **options)
    size = sqlite_size(text)
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN typeof({text}) = 'text' AND {size} <= {MAX_BYTES} THEN {text} "
        f"WHEN {size} <= {_SHOWN_BYTES} THEN '(' || typeof({text}) || ' ' || hex({text}) || ')' "
        f"ELSE '(' || {size} || ' bytes of ' || typeof({text}) || ')' END"
    )


def sqlite_size(text: str) -> str:
    """SQL for a value's size in bytes. Before 3.43 SQLite reads the value for it, and Python still does not."""
    if sqlite3.sqlite_version_info >= _HAS_OCTET_LENGTH:
        return f"octet_length({text})"
    return f"length(CAST({text} AS BLOB))"
