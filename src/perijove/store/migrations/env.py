"""Alembic's entry: runs migrations on the connection that `store.migrate` hands over."""

from alembic import context

from perijove.store import schema
from perijove.store.migrations import resuming  # noqa: F401 - Alembic knows a dialect's changes once they are defined

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
