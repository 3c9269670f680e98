"""How alembic runs our migrations: in the transaction that schema.py has opened."""

from alembic import context
from supervisor_sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
context.run_migrations()
