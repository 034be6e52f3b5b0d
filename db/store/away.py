"""Tells a database that is away, full, locked or stopping from one that refuses what it was asked."""

import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

#: PostgreSQL's code for a transaction that may only read, as on a standby (Appendix A of its manual); psycopg files it
#: under internal errors.
_READ_ONLY = "25006"
#: SQLite's result codes keep the kind in their low byte (https://sqlite.org/rescode.html).
_SQLITE_KIND = 0xFF


def is_away(error: DBAPIError) -> bool:
    """Whether the same statement may succeed later, though nobody changes it.

    Drivers call it operational: no connection, shutting down, too many clients, disk full, locked, deadlock. SQLite's
    also calls every mistake in a statement so, with the code of no particular kind.
    """
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return isinstance(error, OperationalError) and code & _SQLITE_KIND != sqlite3.SQLITE_ERROR
    return isinstance(error, OperationalError | InterfaceError) or getattr(cause, "sqlstate", None) == _READ_ONLY
