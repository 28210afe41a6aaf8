"""What Alembic runs to migrate the job table, on the connection and in the transaction that it is given."""

from alembic import context

from prefect_narrative.jobs.table import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
