"""After an upgrade on PostgreSQL: odd rows of before a constraint are repaired, and then the constraint is validated.

Both go on beside uploads and workers: no statement here locks more than the odd rows. An upgrade that was interrupted,
or that met a long transaction, is completed by the next one.
"""

import logging

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from db.schema.row_text import MAX_BYTES
from db.schema.soundness import COUNTS, TEXT_LIMITS, TIMES, postgresql_conditions

log = logging.getLogger(__name__)

_UNVALIDATED = text(
    "SELECT conrelid::regclass::text, conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid "
    "WHERE contype = 'c' AND NOT convalidated AND relnamespace = to_regnamespace(:schema) ORDER BY 1, 2"
)


def complete(engine: Engine, schema: str) -> None:
    """Repair odd rows and validate what is not validated yet; what cannot be done now is logged, and left."""
    with engine.begin() as connection:
        left = connection.execute(_UNVALIDATED, {"schema": f'"{schema}"'}).all()
    if any(table.endswith("images") for table, _ in left):
        _try(engine, f"odd rows of {schema}.images are not repaired", _repair(f'"{schema}".images'))
    for table, name in left:
        statement = f'ALTER TABLE {table} VALIDATE CONSTRAINT "{name}"'
        _try(engine, f"constraint {name} holds for new rows only", statement)


def _try(engine: Engine, what: str, statement: str) -> None:
    try:
        with engine.begin() as connection:
            _wait_no_longer(connection)
            connection.exec_driver_sql(statement)
    except DBAPIError as error:
        log.warning("%s: %s; run `unmask db upgrade` again", what, str(error.orig).strip().splitlines()[0])


def _wait_no_longer(connection: Connection) -> None:
    """Of replicas that start together, one works. Behind a lock on the table others would wait for this."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('unmask'))")
    connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")


def _repair(table: str) -> str:
    """One statement, so one look at the table. A pending image with odd text fails; it could never be worked on."""
    ok = postgresql_conditions("")
    odd = f"(state = 'pending' AND NOT ({' AND '.join(f'({ok[name]})' for name in TEXT_LIMITS)}))"
    size = "octet_length(url)"
    large = f"({size} > {MAX_BYTES} OR length(url) NOT BETWEEN 1 AND {TEXT_LIMITS['url']})"
    changes = {
        "url": f"CASE WHEN {large} THEN '(' || {size} || ' bytes of text)' ELSE url END",
        "state": f"CASE WHEN {odd} THEN 'failed' ELSE state END",
        "reason": f"CASE WHEN {odd} THEN 'odd_row' ELSE reason END",
        "detail": f"CASE WHEN {odd} THEN 'its id, account, URL or policy cannot be worked with' "
        f"WHEN octet_length(detail) > {MAX_BYTES} THEN NULL ELSE detail END",
        **{name: f"CASE WHEN {ok[name]} THEN {name} ELSE statement_timestamp() END" for name in TIMES},
        **{name: f"least(greatest({name}, 0), 1000)" for name in COUNTS},
    }
    times = " AND ".join(f"({ok[name]})" for name in TIMES)
    wrong = f"{odd} OR {large} OR octet_length(detail) > {MAX_BYTES} OR NOT ({times}) OR NOT ({ok['counts']})"
    written = ", ".join(f"{name} = {value}" for name, value in changes.items())
    return f"UPDATE {table} SET {written} WHERE {wrong}"  # noqa: S608 - our own words
