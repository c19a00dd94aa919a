"""The ledger's database, from outside."""

from __future__ import annotations

from sqlalchemy import create_engine, delete

from dicom_node.queue.schema import metadata


def empty(url: str) -> None:
    """Delete every row, as a database that is lost and made anew has none; under the hands of whoever uses it."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    engine.dispose()
