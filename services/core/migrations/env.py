"""Alembic entry point. The connection comes from `Database.migrate`, inside its transaction."""

from alembic import context

from services.core.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
