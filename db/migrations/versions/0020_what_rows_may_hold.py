"""Limits of what a row may hold: sizes, types, times, counts, rates; no control characters in images that wait.

Run before the code. SQLite checks the columns that a statement changes, so older rows may stay as they are. There the
constraints become part of the tables' text, as in 0013, and odd rows are repaired here.

PostgreSQL checks a whole row at each change. Here it gets the constraints for new rows only, which needs no look at the
table. After the commit, `db.store.row_limits` repairs odd rows in their place and then has the constraints validated,
while uploads and workers go on.
"""

import sqlite3
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_COUNT = "{} BETWEEN -1000000000 AND 1000000000"
_TIME = "{} BETWEEN '1970-01-01' AND '9999-01-01'"
_CONTROL = r"[\x01-\x1f\x7f-\x9f\u2028\u2029\ufffd-\uffff]"
_TEXTS = {"id": 128, "account_id": 128, "url": 4096, "policy": 128}
_COUNTS = ("attempts", "losses", "sends")
_TIMES = ("next_attempt_at", "created_at", "changed_at", "lease_until")
_NULLABLE = {"account_id", "url", "lease_until"}
_BOTH = {
    "thresholds": {name: f"{name} BETWEEN 0 AND 1" for name in ("target_fpr", "measured_fpr", "fpr_low", "fpr_high")},
    "cases": {"highest": "highest BETWEEN 0 AND 1"},
    "rescores": {"rate_per_s": "rate_per_s BETWEEN 0.001 AND 1000000"},
}
_POSTGRESQL = {
    "url_size": "octet_length(url) <= 16384 AND length(url) BETWEEN 1 AND 4096",
    "detail_size": "octet_length(detail) <= 16384",
    "counts": " AND ".join(_COUNT.format(name) for name in _COUNTS),
    "times": " AND ".join(_TIME.format(name) for name in _TIMES),
    "plain": " AND ".join(f"(state <> 'pending' OR {name} !~ '{_CONTROL}')" for name in _TEXTS),
}
_SQLITE_TEXT = "typeof({0}) = 'text' AND length(CAST({0} AS BLOB)) <= {2} AND length({0}) BETWEEN 1 AND {1}"
_SQLITE_TIME = (
    "typeof({0}) = 'text' AND {0} BETWEEN '1970-01-01' AND '9999-01-01' "
    "AND substr({0}, 20) NOT GLOB '*[^.0-9]*' AND length({0}) <= 26 "
    "AND (strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') = substr({0}, 1, 19) "
    "OR strftime('%Y-%m-%d', {0}, '+0 days') = {0})"
)
_SQLITE_PLAIN = (
    "instr({0}, char(0)) = 0 AND {0} NOT GLOB '*[^' || char(32) || '-~' || char(160) || '-' || char(8231) "
    "|| char(8234) || '-' || char(65532) || char(65536) || '-' || char(1114111) || ']*'"
)
#: An image that anything refers to keeps its id.
_REFERRING = ("scores", "flags", "looks", "uploads", "previews", "requests", "samples", "deliveries")


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    if not _on_postgresql():
        _repair_on_sqlite()
        for table, checks in _tables(_sqlite_checks()).items():
            _change_table_on_sqlite(table, ")", "".join(_written(table, checks)) + "\n)")
        return
    for table, checks in _tables(_POSTGRESQL).items():
        for name, condition in checks.items():
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_{name} CHECK ({condition}) NOT VALID")


def downgrade() -> None:
    if _on_postgresql():
        for table, checks in _tables(_POSTGRESQL).items():
            for name in checks:
                op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    else:
        for table, checks in _tables(_sqlite_checks()).items():
            for line in _written(table, checks):
                _change_table_on_sqlite(table, line, "")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _tables(images: dict[str, str]) -> dict[str, dict[str, str]]:
    return {"images": images, **_BOTH}


def _sqlite_checks() -> dict[str, str]:
    text = {name: _SQLITE_TEXT.format(name, limit, 4 * limit) for name, limit in _TEXTS.items()}
    checks = {f"{name}_text": _or_null(name, condition) for name, condition in text.items()}
    checks["detail_size"] = "detail IS NULL OR (typeof(detail) = 'text' AND length(CAST(detail AS BLOB)) <= 16384)"
    checks |= {name: f"typeof({name}) = 'integer' AND {_COUNT.format(name)}" for name in _COUNTS}
    checks |= {name: _or_null(name, _SQLITE_TIME.format(name)) for name in _TIMES}
    for name in _TEXTS:
        checks[f"{name}_plain"] = f"state <> 'pending' OR {_or_null(name, f'({_SQLITE_PLAIN.format(name)})')}"
    return checks


def _or_null(name: str, condition: str) -> str:
    return f"{name} IS NULL OR ({condition})" if name in _NULLABLE else condition


def _written(table: str, checks: dict[str, str]) -> list[str]:
    """Each constraint as it stands at the end of a table's text."""
    return [f", \n\tCONSTRAINT ck_{table}_{name} CHECK ({condition})" for name, condition in checks.items()]


def _repair_on_sqlite() -> None:
    """Fail pending images that the constraints would refuse, and replace values that no row may hold.

    An id that nobody could name is replaced unless something refers to it; first, since a failure may cause a webhook.
    """
    checks = _sqlite_checks()
    free = " AND ".join(f"NOT EXISTS (SELECT 1 FROM {other} WHERE image_id = images.id)" for other in _REFERRING)  # noqa: S608 - our own words
    odd = " OR ".join(f"NOT ({checks[name]})" for name in checks if name.endswith(("_text", "_plain")))
    detail = "'this row of before the limits on rows had an id, account, URL or policy that cannot be worked with'"
    failed = f"state = 'failed', reason = 'odd_row', detail = {detail}, lease_owner = NULL, lease_until = NULL"
    named = f"id = 'odd-' || lower(hex(randomblob(16))), {failed}"
    op.execute(f"UPDATE images SET {named} WHERE state = 'pending' AND NOT ({checks['id_text']}) AND {free}")  # noqa: S608 - our own words
    op.execute(f"UPDATE images SET {failed} WHERE state = 'pending' AND ({odd})")  # noqa: S608 - our own words
    shown = "'(' || length(CAST({0} AS BLOB)) || ' bytes of ' || typeof({0}) || ')'"
    values = {"account_id": shown.format("account_id"), "url": shown.format("url"), "policy": "'default'"}
    for name, value in values.items():
        op.execute(f"UPDATE images SET {name} = {value} WHERE NOT ({checks[f'{name}_text']})")  # noqa: S608 - our own words
    op.execute(f"UPDATE images SET detail = NULL WHERE NOT ({checks['detail_size']})")  # noqa: S608 - our own words
    replaced = dict.fromkeys(_COUNTS, "0") | dict.fromkeys(_TIMES, "strftime('%Y-%m-%d %H:%M:%f', 'now')")
    for name, value in (replaced | {"lease_until": "NULL"}).items():
        op.execute(f"UPDATE images SET {name} = {value} WHERE NOT ({checks[name]})")  # noqa: S608 - our own words


def _change_table_on_sqlite(table: str, before: str, after: str) -> None:
    """Replace the last occurrence of a part of a table's text (see 0013)."""
    bind = op.get_bind()
    driver: Any = bind.connection.driver_connection
    defensive: int | None = getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE", None)
    if defensive is not None:  # from Python 3.12 on; Apple's SQLite refuses the change otherwise
        driver.setconfig(defensive, False)  # noqa: FBT003 - the driver takes it by position
    named = {"name": table}
    text = bind.scalar(sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name"), named)
    head, found, tail = (text or "").rpartition(before)
    if not found:
        raise RuntimeError(f"the text of table {table} lacks {before!r}")
    number = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    bind.execute(
        sa.text("UPDATE sqlite_master SET sql = :text WHERE type = 'table' AND name = :name"),
        named | {"text": head.rstrip() + after + tail},
    )
    bind.exec_driver_sql(f"PRAGMA schema_version = {number + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = RESET")
