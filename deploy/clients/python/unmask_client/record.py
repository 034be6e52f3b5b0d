"""Enqueues photos and reads results by SQL, in the application's own transaction."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timezone
from typing import Any, Protocol, overload

from unmask_client.connections import Statement, Steps, run
from unmask_client.errors import ConflictError
from unmask_client.photo import MAX_ID, Photo, check_text, photo

_INSERT = (
    "INSERT INTO {schema}images (id, account_id, url, policy, lane) "
    "VALUES (:id, :account_id, :url, :policy, :lane) ON CONFLICT (id) DO NOTHING"
)
_KNOWN = "SELECT account_id, url, policy FROM {schema}images WHERE id = :id"
_RESULT = (
    "SELECT image_id, account_id, state, score, flagged, threshold, model, reason, scored_at, case_state "
    "FROM {schema}results WHERE image_id = :id"
)


class AsyncConnection(Protocol):
    """A SQLAlchemy AsyncSession, async_scoped_session or AsyncConnection."""

    async def execute(self, statement: Any, /) -> Any:
        """Run a statement."""

    async def close(self) -> Any:
        """Return the connection to its pool."""


@overload
def enqueue(
    conn: AsyncConnection,
    *,
    account_id: str,
    url: str,
    image_id: str | None = None,
    policy: str = "default",
    lane: str = "upload",
    schema: str = "unmask",
) -> Coroutine[Any, Any, str]: ...
@overload
def enqueue(
    conn: Any,
    *,
    account_id: str,
    url: str,
    image_id: str | None = None,
    policy: str = "default",
    lane: str = "upload",
    schema: str = "unmask",
) -> str: ...
def enqueue(
    conn: Any,
    *,
    account_id: str,
    url: str,
    image_id: str | None = None,
    policy: str = "default",
    lane: str = "upload",
    schema: str = "unmask",
) -> str | Coroutine[Any, Any, str]:
    """Enqueue one photo and return its id (a new one, unless given).

    This only inserts a row in the caller's transaction: Unmask scores the photo after the caller commits. Enqueuing the
    same photo under the same id again changes nothing.

    Args:
        conn: a SQLAlchemy Session or Connection (1.4 or 2), a Django connection, or a connection or cursor of psycopg,
            psycopg2, pg8000 or sqlite3. With an AsyncSession or AsyncConnection, await what this returns.
        account_id: the photo's account; at most 128 characters, as all ids.
        url: http(s) on a host that the workers may fetch from, or a path below their media root.
        image_id: your id, if you have one.
        policy: the policy whose threshold applies.
        lane: ``upload`` if somebody waits for the verdict, ``backfill`` if nobody waits.
        schema: the PostgreSQL schema of Unmask's tables.

    Raises:
        ValueError: an argument is empty, too long, not text, or has control characters.
        ConflictError: the id stands for a photo with another account, URL or policy.
        TypeError: ``conn`` is of another type.
    """
    new = photo(account_id=account_id, url=url, image_id=image_id, policy=policy, lane=lane)
    return run(conn, schema, _enqueue(new))


@overload
def result(
    conn: AsyncConnection, image_id: str, *, schema: str = "unmask"
) -> Coroutine[Any, Any, dict[str, Any] | None]: ...
@overload
def result(conn: Any, image_id: str, *, schema: str = "unmask") -> dict[str, Any] | None: ...
def result(
    conn: Any, image_id: str, *, schema: str = "unmask"
) -> dict[str, Any] | Coroutine[Any, Any, dict[str, Any] | None] | None:
    """The result of a photo, a row of the view ``results``; None if its id is unknown.

    Its keys: ``image_id``, ``account_id``, ``state`` (pending, scored, unusable, failed), ``score`` (0 real, 1
    AI-generated), ``flagged``, ``threshold``, ``model``, ``reason``, ``scored_at`` (a datetime in UTC), ``case_state``.
    Unknown values are None. Without a score, ``flagged`` is None, which does not mean that the photo is real.

    Args:
        conn: as for `enqueue`; with an AsyncSession or AsyncConnection, await what this returns.
        image_id: the id that `enqueue` returned.
        schema: the PostgreSQL schema of Unmask's view.
    """
    return run(conn, schema, _result(check_text("image_id", image_id, MAX_ID)))


def _enqueue(new: Photo) -> Steps[str]:
    inserted = yield Statement(_INSERT, {"id": new.image_id, **_without_id(new)})
    if inserted.changed != 1:
        known = yield Statement(_KNOWN, {"id": new.image_id})
        _check_known(known.rows, new)
    return new.image_id


def _result(image_id: str) -> Steps[dict[str, Any] | None]:
    found = yield Statement(_RESULT, {"id": image_id})
    return _result_of(found.rows[0]) if found.rows else None


def _without_id(new: Photo) -> dict[str, object]:
    return {name: value for name, value in new._asdict().items() if name != "image_id"}


def _check_known(rows: list[dict[str, Any]], new: Photo) -> None:
    """Raise `ConflictError` for another photo under this id. The lane may differ; erased values are not compared."""
    for name, known in rows[0].items() if rows else ():
        if known is not None and known != getattr(new, name):
            raise ConflictError(f"image {new.image_id!a} is known with another {name}: an id stands for one photo")


def _result_of(row: dict[str, Any]) -> dict[str, Any]:
    """The row with PostgreSQL's types: SQLite stores booleans as numbers and times as text in UTC."""
    flagged = row["flagged"]
    return {**row, "flagged": None if flagged is None else bool(flagged), "scored_at": _utc(row["scored_at"])}


def _utc(value: Any) -> datetime | None:
    if value is None:
        return None
    at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)
