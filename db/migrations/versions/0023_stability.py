"""How far a score moves when the same photo is delivered again, and photos that are unstable. Run before the code.

A flag's kind may be "unstable": such a photo waits for a person and counts as no flag. No webhook tells it as one. The
view ``results`` gets three more columns: the verdict, and the limits of the score over other deliveries.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

#: Plain SQL: alembic would recreate the tables on SQLite because of the constraints.
_SCORES = (
    ("low", "{double} CONSTRAINT ck_scores_low CHECK (low >= 0 AND low <= score)"),
    ("high", "{double} CONSTRAINT ck_scores_high CHECK (high >= score AND high <= 1)"),
    ("deliveries", "INTEGER CONSTRAINT ck_scores_deliveries CHECK (deliveries > 0)"),
    ("recipe", "INTEGER"),
)
_POLICY = "VARCHAR(8) CONSTRAINT ck_policies_stability CHECK (stability IN ('off', 'note'))"
_FUNCTION = """
CREATE OR REPLACE FUNCTION unmask_flag_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.deliveries (image_id, event) '
        'SELECT $1, ''flagged'' FROM %I.webhook_switch WHERE name = ''image.flagged''{new} AND NOT EXISTS '
        '(SELECT FROM %I.flags AS others WHERE others.image_id = $1 AND others.case_id = $2 AND others.id < $3{other})',
        TG_TABLE_SCHEMA, TG_TABLE_SCHEMA, TG_TABLE_SCHEMA) USING NEW.image_id, NEW.case_id, NEW.id{using};
    RETURN NULL;
END
$$
"""
_TRIGGER = """
CREATE TRIGGER flags_added AFTER INSERT ON flags BEGIN
    INSERT INTO deliveries (image_id, event) SELECT NEW.image_id, 'flagged' FROM webhook_switch
    WHERE name = 'image.flagged'{new} AND NOT EXISTS (SELECT 1 FROM flags AS others
        WHERE others.image_id = NEW.image_id AND others.case_id = NEW.case_id AND others.id < NEW.id{other});
END
"""
_EVENT_BEFORE = {"new": "", "other": "", "using": ""}
_EVENT_AFTER = {
    "postgresql": {
        "new": " AND $4 <> ''unstable''",
        "other": " AND others.kind <> ''unstable''",
        "using": ", NEW.kind",
    },
    "sqlite": {"new": " AND NEW.kind <> 'unstable'", "other": " AND others.kind <> 'unstable'"},
}
#: The view of 0018. New: of an unstable photo nobody says whether it is flagged, and the last three columns.
_RESULTS = """
VIEW results AS
SELECT
    image_id, account_id, state, score,
    CASE WHEN flagged_by IS NOT NULL THEN {true} {unstable}WHEN score < in_force THEN {false} END AS flagged,
    COALESCE(flagged_at, in_force) AS threshold,
    model, reason, scored_at, case_state, flagged_by, evidence{more}
FROM (
    SELECT
        images.id AS image_id,
        images.account_id AS account_id,
        CASE images.state WHEN 'not_scorable' THEN 'unusable' ELSE images.state END AS state,
        scores.score AS score,
        CASE WHEN cases.state <> 'withdrawn' THEN used.value END AS flagged_at,
        CASE WHEN cases.state <> 'withdrawn'{no_flag} THEN flags.kind END AS flagged_by,
        CASE WHEN cases.state <> 'withdrawn' THEN flags.evidence END AS evidence,{columns}
        COALESCE(
            (SELECT thresholds.value FROM thresholds WHERE thresholds.version_id = active.id
                AND thresholds.policy = images.policy ORDER BY thresholds.id DESC LIMIT 1),
            (SELECT thresholds.value FROM thresholds WHERE thresholds.version_id = active.id
                AND thresholds.policy = 'default' ORDER BY thresholds.id DESC LIMIT 1)
        ) AS in_force,
        CASE WHEN scores.id IS NOT NULL THEN active.name END AS model,
        CASE WHEN images.state = 'scored' AND scores.id IS NULL THEN 'scored_by_another_model' ELSE images.reason END
            AS reason,
        scores.created_at AS scored_at,
        cases.state AS case_state
    FROM images
    LEFT JOIN model_versions AS active ON active.state = 'active'
    LEFT JOIN scores ON scores.image_id = images.id AND scores.version_id = active.id
    LEFT JOIN flags ON flags.id = (SELECT max(others.id) FROM flags AS others WHERE others.image_id = images.id)
    LEFT JOIN cases ON cases.id = flags.case_id
    LEFT JOIN thresholds AS used ON used.id = flags.threshold_id
) AS found
"""
_BEFORE = {"unstable": "", "more": "", "no_flag": "", "columns": ""}
_AFTER = {
    "unstable": "WHEN unstable THEN NULL ",
    "no_flag": " AND flags.kind <> 'unstable'",
    "columns": """
        cases.state <> 'withdrawn' AND flags.kind = 'unstable' AS unstable,
        scores.low AS score_low, scores.high AS score_high,""",
    "more": """,
    CASE WHEN flagged_by IS NOT NULL THEN 'flagged' WHEN unstable THEN 'unstable' WHEN score < in_force THEN 'clear' END
        AS verdict,
    score_low, score_high""",
}


def upgrade() -> None:
    """No policy judges stability yet, and stored scores have no limits."""
    op.bulk_insert(sa.table("schema_support", sa.column("revision", sa.String)), [{"revision": revision}])
    double = "DOUBLE PRECISION" if _on_postgresql() else "DOUBLE"
    for name, definition in _SCORES:
        op.execute(f"ALTER TABLE scores ADD COLUMN {name} {definition.format(double=double)}")
    op.execute(f"ALTER TABLE policies ADD COLUMN stability {_POLICY}")
    measured = sa.text("high IS NOT NULL")
    op.create_index(
        "ix_scores_version_id_high", "scores", ["version_id", "high"], postgresql_where=measured, sqlite_where=measured
    )
    _replace_event(_EVENT_AFTER["postgresql" if _on_postgresql() else "sqlite"])
    if _on_postgresql():
        op.execute("CREATE OR REPLACE " + _results(_AFTER))  # keeps the view's grants
    else:
        op.execute("DROP VIEW results")
        op.execute("CREATE " + _results(_AFTER))


def downgrade() -> None:
    """Unstable photos leave their cases, which would call them flagged."""
    op.execute("DROP VIEW results")
    op.execute("DELETE FROM flags WHERE kind = 'unstable'")
    _replace_event(_EVENT_BEFORE)
    op.drop_index("ix_scores_version_id_high", "scores")
    for name, _ in reversed(_SCORES):
        op.execute(f"ALTER TABLE scores DROP COLUMN {name}")
    op.execute("ALTER TABLE policies DROP COLUMN stability")
    op.execute("CREATE " + _results(_BEFORE))
    op.execute(f"DELETE FROM schema_support WHERE revision = '{revision}'")  # noqa: S608 - our own words


def _on_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _results(parts: dict[str, str]) -> str:
    true, false = ("true", "false") if _on_postgresql() else ("1", "0")
    return _RESULTS.format(true=true, false=false, **parts)


def _replace_event(words: dict[str, str]) -> None:
    if _on_postgresql():
        op.execute(_FUNCTION.format(**words))
        return
    op.execute("DROP TRIGGER flags_added")
    op.execute(_TRIGGER.format(**words))
