"""One vocabulary of states (pending, scored, unusable, failed), and thresholds record which older one they restore.

Run before the code; on SQLite stop the workers first. On PostgreSQL, workers of the previous version may run meanwhile:
a trigger translates their state. A photo is unusable when it is itself at fault. The list of reasons is a copy, since a
migration must not change when the code does.
"""

import sqlite3
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_OLD, _NEW = "not_scorable", "unusable"
_CHECKS = {
    _OLD: "state IN ('pending', 'scored', 'failed', 'not_scorable')",
    _NEW: "state IN ('pending', 'scored', 'unusable', 'failed')",
}
_UNUSABLE = (
    *("animated", "corrupt", "decoder_killed", "decoder_memory", "decoder_timeout", "empty", "erased"),
    *("metadata_too_large", "not_an_image", "side_too_long", "side_too_short", "too_elongated", "too_many_bytes"),
    *("too_many_parts", "too_many_pixels", "too_many_scans", "too_small", "truncated"),
)
#: The trigger of 0011, with the state that applies.
_POSTGRESQL_UPLOADS = """
CREATE TRIGGER images_forget_upload AFTER UPDATE OF state, url ON images FOR EACH ROW
WHEN (NEW.state IN ('failed', '{state}') OR NEW.url IS NULL) EXECUTE FUNCTION unmask_forget_upload()
"""
_SQLITE_UPLOADS = """
CREATE TRIGGER images_forget_upload AFTER UPDATE OF state, url ON images
WHEN NEW.state IN ('failed', '{state}') OR NEW.url IS NULL BEGIN
    DELETE FROM uploads WHERE image_id = NEW.id;
END
"""
_POSTGRESQL_TRANSLATION = (
    """
    CREATE FUNCTION unmask_translate_state() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        NEW.state := 'unusable';
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER images_translate_state BEFORE INSERT OR UPDATE OF state ON images FOR EACH ROW
    WHEN (NEW.state = 'not_scorable') EXECUTE FUNCTION unmask_translate_state()
    """,
)


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    op.add_column("thresholds", sa.Column("restores", sa.Integer(), nullable=True))
    _rename_state(_OLD, _NEW)
    images = sa.table("images", sa.column("state", sa.String), sa.column("reason", sa.String))
    at_fault = (images.c.state == "failed") & images.c.reason.in_(_UNUSABLE)
    op.execute(images.update().where(at_fault).values(state=_NEW))
    if _on_postgresql():
        for statement in _POSTGRESQL_TRANSLATION:
            op.execute(statement)


def downgrade() -> None:
    if _on_postgresql():
        op.execute("DROP TRIGGER images_translate_state ON images")
        op.execute("DROP FUNCTION unmask_translate_state()")
    _rename_state(_NEW, _OLD)
    op.drop_column("thresholds", "restores")
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _rename_state(before: str, after: str) -> None:
    """Rename a state in the constraint, the index, the trigger and the rows of images."""
    op.drop_index("ix_images_failed", "images")
    op.execute(f"DROP TRIGGER images_forget_upload{' ON images' if _on_postgresql() else ''}")
    if _on_postgresql():
        op.drop_constraint(op.f("ck_images_state"), "images", type_="check")
    else:
        _replace_check_on_sqlite(_CHECKS[before], _CHECKS[after])
    op.execute(f"UPDATE images SET state = '{after}' WHERE state = '{before}'")  # noqa: S608 - our own words
    if _on_postgresql():
        op.create_check_constraint(op.f("ck_images_state"), "images", _CHECKS[after])
    failed = sa.text(f"state IN ('failed', '{after}')")
    op.create_index("ix_images_failed", "images", ["reason"], postgresql_where=failed, sqlite_where=failed)
    op.execute((_POSTGRESQL_UPLOADS if _on_postgresql() else _SQLITE_UPLOADS).format(state=after))


def _replace_check_on_sqlite(before: str, after: str) -> None:
    """Replace the text of a CHECK as https://www.sqlite.org/lang_altertable.html#otheralter describes.

    Recreating the table would lose its triggers and, with foreign keys on, delete the rows that refer to it.
    """
    bind = op.get_bind()
    driver: Any = bind.connection.driver_connection
    defensive: int | None = getattr(sqlite3, "SQLITE_DBCONFIG_DEFENSIVE", None)
    if defensive is not None:  # from Python 3.12 on; Apple's SQLite refuses the change otherwise
        driver.setconfig(defensive, False)  # noqa: FBT003 - the driver takes it by position
    number = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = bind.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE name = 'images' AND instr(sql, :before) > 0"
        ),
        {"before": before, "after": after},
    )
    bind.exec_driver_sql(f"PRAGMA schema_version = {number + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = RESET")
    if changed.rowcount != 1:
        raise RuntimeError(f"table images has no constraint {before}")
