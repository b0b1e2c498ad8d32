"""Alembic's entry: runs migrations on the connection that `store.migrate` hands over."""

from alembic import context

from perijove.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    render_as_batch=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
