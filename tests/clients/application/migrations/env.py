"""The application's own migrations, with a version table of the usual name."""

from alembic import context

import db

with db.engine.begin() as connection:
    context.configure(connection=connection, target_metadata=db.Base.metadata)
    context.run_migrations()
