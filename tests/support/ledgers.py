"""The ledger's database, from outside."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine, delete

from dicom_node.queue.database import driver
from dicom_node.queue.schema import metadata


def engine_on(url: str) -> Engine:
    """Open a ledger with the SQLite that the node has: two of them in one process take each other's locks away."""
    return create_engine(url, **driver(url))


def empty(url: str) -> None:
    """Delete every row, as a database that is lost and made anew has none; under the hands of whoever uses it."""
    engine = engine_on(url)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    engine.dispose()
