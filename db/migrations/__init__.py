"""The history of the schema, one revision a module (Alembic)."""
