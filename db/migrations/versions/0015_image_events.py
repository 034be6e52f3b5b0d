"""Webhooks for images, and events chosen by kind. Run before the code that sends them.

webhook_switch names the kinds that are recorded. A row "on", which an older worker writes, stands for the cases' kinds.
Set UNMASK_WEBHOOK_EVENTS once no older worker runs: it cannot send what happens to images.

Triggers record failures and flags, whoever causes them: both are rare. Scores are many and have one author, which
records them itself (`db.policy.scores`): a trigger cost 50 us an image on PostgreSQL, even while it wrote nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_CASE_EVENTS = ("opened", "confirmed", "dismissed", "withdrawn", "reopened")
_IMAGE_EVENTS = ("scored", "flagged", "failed")
_SWITCH = sa.table("webhook_switch", sa.column("name", sa.String))
_CASE_FUNCTION = """
CREATE OR REPLACE FUNCTION unmask_case_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.deliveries (case_id, version, event) '
        'SELECT $1, $2, $3 FROM %I.webhook_switch {where} ON CONFLICT DO NOTHING', TG_TABLE_SCHEMA, TG_TABLE_SCHEMA)
        USING NEW.id, NEW.version,
            CASE WHEN TG_OP = 'INSERT' THEN 'opened' WHEN NEW.state = 'open' THEN 'reopened' ELSE NEW.state END;
    RETURN NULL;
END
$$
"""
_CHOSEN = "WHERE name IN (''on'', ''case.'' || $3)"
#: A photo that is flagged again in the same case, by another model, is no news. An image without an account was erased.
_POSTGRESQL = (
    """
    CREATE FUNCTION unmask_image_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        EXECUTE format('INSERT INTO %I.deliveries (image_id, event) '
            'SELECT $1, ''failed'' FROM %I.webhook_switch WHERE name = ''image.failed''',
            TG_TABLE_SCHEMA, TG_TABLE_SCHEMA) USING NEW.id;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER images_failed AFTER UPDATE OF state ON images FOR EACH ROW
    WHEN (NEW.state IN ('failed', 'unusable') AND OLD.state <> NEW.state AND NEW.account_id IS NOT NULL)
    EXECUTE FUNCTION unmask_image_event()
    """,
    """
    CREATE FUNCTION unmask_flag_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
    BEGIN
        EXECUTE format('INSERT INTO %I.deliveries (image_id, event) '
            'SELECT $1, ''flagged'' FROM %I.webhook_switch WHERE name = ''image.flagged'' AND NOT EXISTS '
            '(SELECT FROM %I.flags AS others WHERE others.image_id = $1 AND others.case_id = $2 AND others.id < $3)',
            TG_TABLE_SCHEMA, TG_TABLE_SCHEMA, TG_TABLE_SCHEMA) USING NEW.image_id, NEW.case_id, NEW.id;
        RETURN NULL;
    END
    $$
    """,
    "CREATE TRIGGER flags_added AFTER INSERT ON flags FOR EACH ROW EXECUTE FUNCTION unmask_flag_event()",
)
_SQLITE_CASES = (
    """
    CREATE TRIGGER cases_opened AFTER INSERT ON cases BEGIN
        INSERT INTO deliveries (case_id, version, event) SELECT NEW.id, NEW.version, 'opened' FROM webhook_switch
        WHERE {opened} ON CONFLICT DO NOTHING;
    END
    """,
    """
    CREATE TRIGGER cases_changed AFTER UPDATE OF state ON cases
    WHEN OLD.state <> NEW.state AND NEW.account_id IS NOT NULL BEGIN
        INSERT INTO deliveries (case_id, version, event)
        SELECT NEW.id, NEW.version, CASE NEW.state WHEN 'open' THEN 'reopened' ELSE NEW.state END FROM webhook_switch
        WHERE {changed} ON CONFLICT DO NOTHING;
    END
    """,
)
_SQLITE_CHOSEN = {
    "opened": "name IN ('on', 'case.opened')",
    "changed": "name IN ('on', 'case.' || CASE NEW.state WHEN 'open' THEN 'reopened' ELSE NEW.state END)",
}
_SQLITE_IMAGES = (
    """
    CREATE TRIGGER images_failed AFTER UPDATE OF state ON images
    WHEN NEW.state IN ('failed', 'unusable') AND OLD.state <> NEW.state AND NEW.account_id IS NOT NULL BEGIN
        INSERT INTO deliveries (image_id, event)
        SELECT NEW.id, 'failed' FROM webhook_switch WHERE name = 'image.failed';
    END
    """,
    """
    CREATE TRIGGER flags_added AFTER INSERT ON flags BEGIN
        INSERT INTO deliveries (image_id, event) SELECT NEW.image_id, 'flagged' FROM webhook_switch
        WHERE name = 'image.flagged' AND NOT EXISTS (SELECT 1 FROM flags AS others
            WHERE others.image_id = NEW.image_id AND others.case_id = NEW.case_id AND others.id < NEW.id);
    END
    """,
)


def upgrade() -> None:
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    if not _on_postgresql():
        _drop_sqlite_triggers("cases_opened", "cases_changed")  # they name the table that is made anew
    _widen()
    if _switched_on():
        op.execute(_SWITCH.delete())
        op.bulk_insert(_SWITCH, [{"name": f"case.{event}"} for event in _CASE_EVENTS])
    if _on_postgresql():
        op.execute(_CASE_FUNCTION.format(where=_CHOSEN))
    for statement in _POSTGRESQL if _on_postgresql() else (*_sqlite_cases(**_SQLITE_CHOSEN), *_SQLITE_IMAGES):
        op.execute(statement)


def downgrade() -> None:
    if _on_postgresql():
        for trigger, table in (("images_failed", "images"), ("flags_added", "flags")):
            op.execute(f"DROP TRIGGER {trigger} ON {table}")
        op.execute("DROP FUNCTION unmask_image_event()")
        op.execute("DROP FUNCTION unmask_flag_event()")
        op.execute(_CASE_FUNCTION.format(where=""))
    else:
        _drop_sqlite_triggers("cases_opened", "cases_changed", "images_failed", "flags_added")
    op.execute("DELETE FROM deliveries WHERE image_id IS NOT NULL")
    _narrow()
    if _switched_on():
        op.execute(_SWITCH.delete())
        op.bulk_insert(_SWITCH, [{"name": "on"}])
    for statement in () if _on_postgresql() else _sqlite_cases(opened="true", changed="true"):
        op.execute(statement)
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _widen() -> None:
    with op.batch_alter_table("deliveries") as batch:
        batch.add_column(sa.Column("image_id", sa.String(length=128), nullable=True))
        batch.alter_column("case_id", existing_type=sa.BigInteger(), nullable=True)
        batch.alter_column("version", existing_type=sa.Integer(), nullable=True)
        batch.create_foreign_key(op.f("fk_deliveries_image_id"), "images", ["image_id"], ["id"])
        batch.drop_constraint(op.f("ck_deliveries_event"), type_="check")
        batch.create_check_constraint(op.f("ck_deliveries_event"), _events(*_CASE_EVENTS, *_IMAGE_EVENTS))
        batch.create_check_constraint(op.f("ck_deliveries_subject"), "(case_id IS NULL) <> (image_id IS NULL)")
    op.create_index("ix_deliveries_image_id", "deliveries", ["image_id"])
    dead = sa.text("state = 'dead'")
    op.create_index("ix_deliveries_dead", "deliveries", ["id"], postgresql_where=dead, sqlite_where=dead)


def _narrow() -> None:
    op.drop_index("ix_deliveries_dead", "deliveries")
    op.drop_index("ix_deliveries_image_id", "deliveries")
    with op.batch_alter_table("deliveries") as batch:
        batch.drop_constraint(op.f("ck_deliveries_subject"), type_="check")
        batch.drop_constraint(op.f("ck_deliveries_event"), type_="check")
        batch.create_check_constraint(op.f("ck_deliveries_event"), _events(*_CASE_EVENTS))
        batch.drop_constraint(op.f("fk_deliveries_image_id"), type_="foreignkey")
        batch.alter_column("version", existing_type=sa.Integer(), nullable=False)
        batch.alter_column("case_id", existing_type=sa.BigInteger(), nullable=False)
        batch.drop_column("image_id")


def _events(*names: str) -> str:
    return f"event IN ({', '.join(map(repr, names))})"


def _drop_sqlite_triggers(*names: str) -> None:
    for name in names:
        op.execute(f"DROP TRIGGER {name}")


def _sqlite_cases(**conditions: str) -> list[str]:
    return [statement.format(**conditions) for statement in _SQLITE_CASES]


def _switched_on() -> bool:
    return op.get_bind().scalar(sa.select(_SWITCH.c.name).limit(1)) is not None
