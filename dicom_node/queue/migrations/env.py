"""Alembic runs this for each of its commands: on the connection, and in the transaction, of whoever gave it one."""

from alembic import context

from dicom_node.queue.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters hardly anything: where it has to, a table is made anew and its rows are copied.
    render_as_batch=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
