"""The revisions of the ledger's tables, and how a ledger comes to the newest (docs/decisions/0012-migrations.md).

Alembic is imported only where there is something to alter: what a ledger has is read without it, and a new ledger gets
the tables of ``schema.py`` at once. A test holds the two ways to the same tables together.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    insert,
    inspect,
    select,
)

from dicom_node.errors import ConfigurationError
from dicom_node.queue.schema import metadata

if TYPE_CHECKING:
    from alembic.config import Config

VERSIONS = Path(__file__).parent / "versions"
"""One file a revision; its name begins with the revision's four digits."""

FIRST = "0001"
"""What ledgers have that were made before their revision was written down in them."""

_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table."""


def revisions() -> list[str]:
    """List the revisions that this release knows, the newest last."""
    return sorted(path.name[:4] for path in VERSIONS.glob("[0-9]*.py"))


def bring_up(connection: Connection, *, beside_newer: bool = False) -> None:
    """Give a ledger the tables that this release works with, in the transaction that is open.

    Parameters
    ----------
    connection : Connection
        Nobody else may be at this: it holds a lock.
    beside_newer : bool
        Work with a ledger that a newer release has altered: what revisions add does not disturb (decision 12).

    Raises
    ------
    ConfigurationError
        When a newer release has altered the ledger, or there are tables that are not of a ledger.
    """
    known, found = revisions(), _revision(connection)
    if found is None and not _columns(connection):
        _write_down(connection, known[-1])
        found = known[-1]
    elif found is None:
        _refuse_other_tables(connection)
        _write_down(connection, FIRST)
        found = FIRST
    if found not in known:
        if not beside_newer:
            raise ConfigurationError(_newer(connection, found, known[-1]))
    elif found != known[-1]:
        _upgrade(connection, "head")
    else:
        metadata.create_all(connection)  # all of a new ledger's, and those that somebody has dropped


def configuration(connection: Connection) -> Config:
    """Tell Alembic where the revisions are; ``env.py`` works on this connection."""
    from alembic.config import Config  # noqa: PLC0415 - a tenth of a second, that nearly no start needs

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "dicom_node.queue:migrations")
    # By newlines, which no path has; a percent sign would be an interpolation.
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(VERSIONS).replace("%", "%%"))
    return config


def _upgrade(connection: Connection, revision: str) -> None:
    from alembic import command  # noqa: PLC0415 - as above

    command.upgrade(configuration(connection), revision)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_version.name):
        return None
    return connection.execute(select(_version.c.version_num)).scalar()


def _write_down(connection: Connection, revision: str) -> None:
    _version.create(connection, checkfirst=True)
    connection.execute(insert(_version).values(version_num=revision))


def _columns(connection: Connection) -> dict[str, set[str]]:
    """Name the columns of those tables that are called like the ledger's."""
    inspector = inspect(connection)
    tables = [name for name in metadata.tables if inspector.has_table(name)]
    return {name: {column["name"] for column in inspector.get_columns(name)} for name in tables}


def _refuse_other_tables(connection: Connection) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as first:
        _upgrade(first, FIRST)
        expected = _columns(first)
    engine.dispose()
    if _columns(connection) != expected:
        msg = f"ledger: {_named(connection)}: has other tables with the names of a ledger's; allowed are an empty "
        msg += "schema and a ledger of dicom_node"
        raise ConfigurationError(msg)


def _newer(connection: Connection, found: str, newest: str) -> str:
    return (
        f"ledger: {_named(connection)}: a newer dicom_node has altered it to revision {found!r}; this one allows at "
        f"most {newest!r}: start the newer one, or a later"
    )


def _named(connection: Connection) -> str:
    """Name the ledger without a password, which can be in the query too."""
    return connection.engine.url.set(query={}).render_as_string(hide_password=True)
