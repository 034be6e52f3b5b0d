"""What an application does with `unmask_client` on one kind of connection: ``python exercise.py KIND URL SCHEMA``.

It prints what it saw as JSON. Each kind imports its own driver, and nothing here imports a room of ours.
"""

import asyncio
import inspect
import json
import sqlite3
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from unmask_client import ConflictError, enqueue, result

#: A URL with everything that a driver or SQLAlchemy might take for a placeholder or the end of a text.
ODD_URL = "https://cdn.example.com/%41%s/:id/?q='\";--{schema}&é=1"


class Hands(NamedTuple):
    """A connection, how to end its transaction, and how to come by what a call returned."""

    conn: Any
    commit: Callable[[], Any]
    rollback: Callable[[], Any]
    settle: Callable[[Any], Any]


def exercise(kind: str, url: str, schema: str) -> dict[str, Any]:
    """What an application sees."""
    with ExitStack() as stack:
        return _seen(KINDS[kind](url, stack), schema)


def _seen(hands: Hands, schema: str) -> dict[str, Any]:
    def put(image_id: str | None, **words: str) -> str:
        image_id = hands.settle(enqueue(hands.conn, account_id="ada", image_id=image_id, schema=schema, **words))
        return str(image_id)

    def read(image_id: str) -> Any:
        return hands.settle(result(hands.conn, image_id, schema=schema))

    lost, kept, made = f"lost-{uuid.uuid4()}", f"kept-{uuid.uuid4()}", put(None, url=ODD_URL)
    hands.commit()
    put(lost, url="lost.jpg")
    hands.rollback()
    ids = [put(kept, url=ODD_URL, lane="backfill"), put(kept, url=ODD_URL)]
    try:
        put(kept, url="other.jpg")
    except ConflictError as error:
        conflict = str(error).replace(kept, "KEPT")
    hands.commit()  # the transaction outlives the conflict
    pending, scored = read(made), read("scored-1")
    scored["scored_at"] = scored["scored_at"].isoformat()
    return {
        "made": made,
        "kept": kept,
        "lost is found": read(lost) is not None,
        "ids are kept": ids == [kept, kept],
        "conflict": conflict,
        "pending": {name: value for name, value in pending.items() if name != "image_id"},
        "scored": scored,
    }


def _plain(value: Any) -> Any:
    assert not inspect.isawaitable(value)
    return value


def _session(url: str, stack: ExitStack) -> Hands:
    from sqlalchemy.orm import Session

    session = stack.enter_context(Session(_engine(url, stack)))
    return Hands(session, session.commit, session.rollback, _plain)


def _scoped_session(url: str, stack: ExitStack) -> Hands:
    from sqlalchemy.orm import scoped_session, sessionmaker

    session = scoped_session(sessionmaker(_engine(url, stack)))
    stack.callback(session.remove)
    return Hands(session, session.commit, session.rollback, _plain)


def _connection(url: str, stack: ExitStack) -> Hands:
    connection = stack.enter_context(_engine(url, stack).connect())
    return Hands(connection, connection.commit, connection.rollback, _plain)


def _raw_connection(url: str, stack: ExitStack) -> Hands:
    connection = _engine(url, stack).raw_connection()
    stack.callback(connection.close)
    return Hands(connection, connection.commit, connection.rollback, _plain)


def _engine(url: str, stack: ExitStack) -> Any:
    from sqlalchemy import create_engine

    engine = create_engine(url, future=True)
    stack.callback(engine.dispose)
    return engine


def _async_session(url: str, stack: ExitStack) -> Hands:
    from sqlalchemy.ext.asyncio import AsyncSession

    run, engine = _async_engine(url, stack)
    session = AsyncSession(engine)
    stack.callback(lambda: run(session.close()))
    return Hands(session, lambda: run(session.commit()), lambda: run(session.rollback()), run)


def _async_connection(url: str, stack: ExitStack) -> Hands:
    run, engine = _async_engine(url, stack)
    connection = run(engine.connect())
    stack.callback(lambda: run(connection.close()))
    return Hands(connection, lambda: run(connection.commit()), lambda: run(connection.rollback()), run)


def _async_engine(url: str, stack: ExitStack) -> tuple[Callable[[Any], Any], Any]:
    from sqlalchemy.ext.asyncio import create_async_engine

    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    engine = create_async_engine(url)
    stack.callback(lambda: loop.run_until_complete(engine.dispose()))
    return loop.run_until_complete, engine


def _sqlite3(url: str, stack: ExitStack) -> Hands:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    stack.callback(connection.close)
    return Hands(connection, connection.commit, connection.rollback, _plain)


def _sqlite3_rows(url: str, stack: ExitStack) -> Hands:
    hands = _sqlite3(url, stack)
    hands.conn.row_factory = sqlite3.Row
    return hands


def _psycopg(url: str, stack: ExitStack) -> Hands:
    import psycopg
    from psycopg.rows import dict_row

    connection = stack.enter_context(psycopg.connect(url, row_factory=dict_row))
    return Hands(connection, connection.commit, connection.rollback, _plain)


def _psycopg2(url: str, stack: ExitStack) -> Hands:
    import psycopg2

    connection = psycopg2.connect(url)
    stack.callback(connection.close)
    return Hands(connection, connection.commit, connection.rollback, _plain)


def _pg8000(url: str, stack: ExitStack) -> Hands:
    import pg8000.dbapi

    place = _place(url)
    socket = f"{place['HOST']}/.s.PGSQL.5432"
    connection = pg8000.dbapi.connect(place["USER"], database=place["NAME"], unix_sock=socket)
    stack.callback(connection.close)
    return Hands(connection, connection.commit, connection.rollback, _plain)


def _django(url: str, stack: ExitStack) -> Hands:
    from django.conf import settings
    from django.db import connection, transaction

    if url.startswith("sqlite"):
        place = {"ENGINE": "django.db.backends.sqlite3", "NAME": url.removeprefix("sqlite:///")}
    else:
        place = {"ENGINE": "django.db.backends.postgresql", **_place(url)}
    settings.configure(DATABASES={"default": place}, USE_TZ=True)
    transaction.set_autocommit(autocommit=False)
    stack.callback(connection.close)
    return Hands(connection, transaction.commit, transaction.rollback, _plain)


def _place(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {"USER": parts.username or "", "NAME": parts.path[1:], "HOST": parse_qs(parts.query)["host"][0]}


def _cursor(kind: Callable[[str, ExitStack], Hands]) -> Callable[[str, ExitStack], Hands]:
    def connect(url: str, stack: ExitStack) -> Hands:
        hands = kind(url, stack)
        cursor = hands.conn.cursor()
        stack.callback(cursor.close)
        return hands._replace(conn=cursor)

    return connect


KINDS: dict[str, Callable[[str, ExitStack], Hands]] = {
    "session": _session,
    "scoped-session": _scoped_session,
    "connection": _connection,
    "raw-connection": _raw_connection,
    "async-session": _async_session,
    "async-connection": _async_connection,
    "sqlite3": _sqlite3,
    "sqlite3-rows": _sqlite3_rows,
    "sqlite3-cursor": _cursor(_sqlite3),
    "psycopg": _psycopg,
    "psycopg-cursor": _cursor(_psycopg),
    "psycopg2": _psycopg2,
    "psycopg2-cursor": _cursor(_psycopg2),
    "pg8000": _pg8000,
    "pg8000-cursor": _cursor(_pg8000),
    "django": _django,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(exercise(*sys.argv[1:])))
