"""The PostgreSQL schema of our tables, in a database that an application may share.

Statements name it through SQLAlchemy's ``schema_translate_map``, not through ``search_path``: an application's own
connection keeps its path, and behind a transaction pooler a path does not last.
"""

from sqlalchemy import Connection, column, select, table, text

#: The tables and trigger functions of installations up to revision 0010, which are in the connection's own schema
#: (usually ``public``). This list is frozen: an application may have tables with the names of later ones.
_TABLES = (
    *("alembic_version", "images", "model_versions", "scores", "thresholds", "cases", "flags", "looks", "reviews"),
    *("appeals", "draws", "samples", "verdicts", "webhook_switch", "deliveries", "retention_pass", "previews"),
    *("requests", "promotions", "reference_sets", "pauses", "rescores", "locks", "schema_support", "people"),
    *("sign_ins", "sign_in_links", "sign_in_tries", "audit_log"),
)
_FUNCTIONS = ("unmask_append_only", "unmask_case_highest", "unmask_case_event")
_REVISIONS = frozenset(f"{number:04}" for number in range(1, 11))
#: The tables that every such installation has, whatever its revision.
_ALWAYS = frozenset({"alembic_version", "images", "scores", "thresholds", "cases", "flags", "reviews"})


def prepare(connection: Connection, schema: str) -> None:
    """Create the schema, move an older installation's tables into it, and set this transaction's ``search_path`` to it.

    Creating the schema needs the right CREATE on the database, unless it exists already.
    """
    exists = connection.scalar(text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": schema})
    if not exists:
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))
    old = old_home(connection, schema)
    if old is not None:
        _move(connection, old, schema)
    connection.execute(text(f'SET LOCAL search_path TO "{schema}"'))


def old_home(connection: Connection, schema: str) -> str | None:
    """The schema of an installation up to revision 0010; None when there is none, or it is ``schema`` itself."""
    home: str | None = connection.scalar(text("SELECT current_schema()"))
    if home is None or home == schema or not _ALWAYS.issubset(_tables(connection, home)):
        return None
    versions = table("alembic_version", column("version_num"), schema=home)
    found = connection.scalars(select(versions.c.version_num)).all()
    return home if len(found) == 1 and found[0] in _REVISIONS else None


def _tables(connection: Connection, schema: str) -> set[str]:
    return set(connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = :name"), {"name": schema}))


def _move(connection: Connection, old: str, schema: str) -> None:
    """Move the tables with their rights, sequences, indexes and triggers, in this transaction.

    A view replaces the table that applications insert into. When none does any more: ``DROP VIEW public.images``.
    """
    for name in sorted(_tables(connection, old).intersection(_TABLES)):
        connection.execute(text(f'ALTER TABLE "{old}"."{name}" SET SCHEMA "{schema}"'))
    for function in _FUNCTIONS:
        if connection.scalar(text("SELECT to_regproc(:name)"), {"name": f'"{old}".{function}'}) is not None:
            connection.execute(text(f'ALTER FUNCTION "{old}"."{function}"() SET SCHEMA "{schema}"'))
    columns = "id, account_id, url, policy, next_attempt_at"
    connection.execute(text(f'CREATE VIEW "{old}".images AS SELECT {columns} FROM "{schema}".images'))  # noqa: S608 - our own words
    if connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = 'unmask_uploader'")):
        connection.execute(text(f'GRANT SELECT, INSERT ON "{old}".images TO unmask_uploader'))
