"""SQLite's rows, in which any column may hold anything: text is read whatever its bytes, and rows are judged.

A row is judged in Python, since SQLite neither checks UTF-8 nor, in older versions, knows a text's size without reading
it. Sizes come from a handle that reads nothing.
"""

import sqlite3
from datetime import datetime
from typing import Any

from db.schema.images import LANES
from db.schema.row_text import MAX_BYTES
from db.schema.soundness import COUNTS, FIRST_TIME, LAST_TIME, MAX_COUNT, SQLITE_FUNCTION, TEXT_LIMITS, TIMES
from db.store.ids import check_id, showable, storable

#: An odd value is shown in hexadecimal if it has no more bytes.
_SHOWN_BYTES = 64
_NULLABLE = {"account_id", "url", "lease_until"}
#: Columns whose values are short, or the row is odd: a comparison with a time or a lane has read them before.
_SHORT = ("lane", *TIMES)
_NAMES = (*TEXT_LIMITS, *_SHORT, *COUNTS)
_TYPES = [f"typeof({name})" for name in _NAMES]
_VALUES = [f"substr(CAST({name} AS BLOB), 1, 64)" for name in _SHORT] + list(COUNTS)
_JUDGED = f"SELECT {', '.join(_TYPES + _VALUES)} FROM images WHERE rowid = ?"  # noqa: S608 - our own words
_TEXTS = f"SELECT {', '.join(f'CAST({name} AS BLOB)' for name in TEXT_LIMITS)} FROM images WHERE rowid = ?"  # noqa: S608 - the same


def prepare(connection: sqlite3.Connection) -> None:
    """Have a connection read any text, and know the function that `db.schema.soundness.is_sound` calls."""
    connection.text_factory = _decoded
    connection.create_function(SQLITE_FUNCTION, 1, lambda rowid: not faults(connection, rowid))


def faults(connection: sqlite3.Connection, rowid: int) -> list[str]:
    """The columns of an image that make it unfit to be worked on."""
    found = connection.execute(_JUDGED, [rowid]).fetchone()
    types, values = dict(zip(_NAMES, found, strict=False)), zip((*_SHORT, *COUNTS), found[len(_NAMES) :], strict=True)
    wrong = [name for name, kind in types.items() if not _is_typed(name, kind)]
    wrong += [name for name in TEXT_LIMITS if types[name] == "text" and not _is_short(connection, name, rowid)]
    wrong += [name for name, value in values if name not in wrong and value is not None and not _is_fit(name, value)]
    if not wrong:
        texts = connection.execute(_TEXTS, [rowid]).fetchone()
        wrong = [n for n, text in zip(TEXT_LIMITS, texts, strict=True) if text is not None and not _is_plain(n, text)]
    return wrong


def can_be_named(connection: sqlite3.Connection, rowid: int) -> bool:
    """Whether a command can name the image by its id."""
    kind = connection.execute("SELECT typeof(id) FROM images WHERE rowid = ?", [rowid]).fetchone()[0]
    if kind != "text" or not _is_short(connection, "id", rowid):
        return False
    data = connection.execute("SELECT CAST(id AS BLOB) FROM images WHERE rowid = ?", [rowid]).fetchone()[0]
    try:
        check_id("id", data.decode())
    except ValueError:  # of the encoding, too
        return False
    return True


def described(connection: sqlite3.Connection, name: str, rowid: int) -> str:
    """A few words in place of an odd value."""
    with connection.blobopen("images", name, rowid, readonly=True) as handle:
        size = len(handle)
        return f"({size} bytes)" if size > _SHOWN_BYTES else f"({size} bytes: {handle.read().hex()})"


def _decoded(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _is_typed(name: str, kind: str) -> bool:
    return kind == ("integer" if name in COUNTS else "text") or (kind == "null" and name in _NULLABLE)


def _is_short(connection: sqlite3.Connection, name: str, rowid: int) -> bool:
    with connection.blobopen("images", name, rowid, readonly=True) as handle:
        return len(handle) <= MAX_BYTES


def _is_plain(name: str, data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return 1 <= len(text) <= TEXT_LIMITS[name] and showable(text) and storable(text)


def _is_fit(name: str, value: Any) -> bool:
    if name in COUNTS:
        return abs(int(value)) <= MAX_COUNT
    text = _decoded(value)
    return text in LANES if name == "lane" else _is_time(text)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return FIRST_TIME <= text <= LAST_TIME
