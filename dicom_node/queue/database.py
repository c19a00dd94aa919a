"""The engine under the ledger: connections, transactions, the clock. Only this module tells SQLite from PostgreSQL."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Float,
    Table,
    bindparam,
    create_engine,
    event,
    extract,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.exc import OperationalError

from dicom_node.queue.migrations import bring_up

try:
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:  # there are wheels for Linux; what Python itself was built with is often too old for _WAL_IS_SAFE
    import sqlite3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

_Result = TypeVar("_Result")

_TRIES = 3
_BUSY_TIMEOUT_MILLISECONDS = 30_000
SQLITE_VERSION: tuple[int, ...] = sqlite3.sqlite_version_info
_WAL_IS_SAFE = (3, 51, 3)
"""Below this SQLite, several writing processes can (rarely) corrupt a database when its write-ahead log is reset."""
_JOURNAL = "WAL" if SQLITE_VERSION >= _WAL_IS_SAFE else "TRUNCATE"
_LOG_PAGES = 4000
"""After so many pages of 4 KiB SQLite moves its write-ahead log into the database, which takes syncs of both."""
_FULL = "database or disk is full"
_IO_ERROR = "disk I/O error"
_READ_ONLY = "readonly database"
_CREATING = 0x44494D
"""The advisory lock of PostgreSQL under which tables are made: any number that is always the same."""
_BEGIN = ("BEGIN IMMEDIATE",)
_NETWORK_IS_GONE = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
}
"""What libpq is told: a worker that is cut off has an error after ten seconds, not after a quarter of an hour."""
_MACHINE_IS_GONE = "-c idle_in_transaction_session_timeout=10s"
"""What the server is told: a transaction of a machine that is gone must not keep its locks for hours."""
_CONTENTION = ("locked", "deadlock detected", "could not serialize")


AT = bindparam("at", type_=Float())
"""The time, in a statement that is made once: to make one takes several times as long as to execute it."""


class Database:
    """Transactions on one database.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: ``sqlite:///<file>`` or ``postgresql+psycopg://...``.
    """

    def __init__(self, url: str) -> None:
        # Parameters are element values: they must not get into the message of an error.
        arguments = _connect_arguments(make_url(url))
        self._engine = create_engine(url, hide_parameters=True, connect_args=arguments, **driver(url))
        if self._engine.dialect.name == "sqlite":
            _configure_sqlite(self._engine)
        self._folder = Path(self._engine.url.database or "").parent
        self._kept: Connection | None = None
        self._reading_engine = self._engine.execution_options(begin=("BEGIN",))
        # A table that is made anew is dropped first: that must not look at the rows that refer to it.
        self._altering_engine = self._engine.execution_options(begin=("PRAGMA foreign_keys = OFF", *_BEGIN))

    def create(self, *, beside_newer: bool = False) -> None:
        """Make the tables, or alter those of an older release; a SQLite file is made with mode 0600.

        Parameters
        ----------
        beside_newer : bool
            Work with a ledger that a newer release has altered.

        Raises
        ------
        ConfigurationError
            When a newer release has altered the ledger, or there are tables that are not of a ledger.
        """
        if self._engine.dialect.name == "sqlite":
            _create_sqlite_file(Path(self._engine.url.database or ""))
        try:
            self._write(partial(_create_tables, beside_newer=beside_newer), engine=self._altering_engine)
        finally:
            self._engine.dispose()  # the next connection looks at foreign keys

    def close(self) -> None:
        """Close the connections."""
        kept, self._kept = self._kept, None
        if kept:
            _end(kept)
        self._engine.dispose()

    def _write(
        self, work: Callable[[Connection], _Result], tries: int = _TRIES, engine: Engine | None = None
    ) -> _Result:
        """Carry out one transaction, again when it lost to another. ``work`` touches nothing but its connection."""
        with self._turn():
            return self._write_in_turn(work, tries, engine)

    def _write_in_turn(
        self, work: Callable[[Connection], _Result], tries: int = _TRIES, engine: Engine | None = None
    ) -> _Result:
        """Carry it out for who has :meth:`_turn`."""
        try:
            with (engine or self._engine).begin() as connection:
                return work(connection)
        except OperationalError as error:
            said = str(error.orig)
            if _FULL in said or _IO_ERROR in said:
                self._take_log_over()
            if tries <= 1 or not any(sign in said for sign in (*_CONTENTION, _FULL)):
                raise
        return self._write_in_turn(work, tries - 1, engine)

    def _write_plainly_in_turn(self, work: Callable[[DBAPICursor], _Result]) -> _Result:
        """Carry out one transaction with the driver alone, on a connection that is kept for it; one thread at a time.

        What SQLAlchemy does around a small transaction costs more than the transaction. It is not tried again, and
        raises what the driver does. In SQLite it is durable with the next one of :meth:`_write`, whoever's that is, and
        not when this returns: it is for what the spool knows as well.
        """
        kept, self._kept = self._kept or self._connect_to_keep(), None
        try:
            with closing(kept.connection.cursor()) as cursor:
                if self._engine.dialect.name == "sqlite":
                    cursor.execute(*_BEGIN)
                result = work(cursor)
                kept.connection.commit()
        except BaseException:
            _end(kept)
            raise
        self._kept = kept
        return result

    def _connect_to_keep(self) -> Connection:
        kept = self._engine.connect()
        try:
            if self._engine.dialect.name == "sqlite":
                with closing(kept.connection.cursor()) as cursor:
                    _let_the_next_sync_do(cursor)
        except BaseException:
            _end(kept)
            raise
        return kept

    def _take_log_over(self) -> None:
        """Let SQLite begin its write-ahead log anew: it does so after a commit, and on a full disk none succeeds.

        What the disk did not take of the log is still in memory, and goes into the database.
        """
        with suppress(OperationalError), self._engine.execution_options(begin=()).connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def _turn(self) -> AbstractContextManager[object]:
        """Let processes write one after the other, as they come.

        SQLite would have them try again and again, with pauses of up to a tenth of a second.
        """
        if self._engine.dialect.name != "sqlite":
            return nullcontext()
        return _locked(self._folder)

    def _change(self, table: Table, where: ColumnElement[bool], **values: object) -> bool:
        """Change one row in a transaction of its own; False when ``where`` does not hold for it."""
        return self._write(lambda connection: change(connection, table, where, **values)) == 1

    def _read(self, work: Callable[[Connection], _Result]) -> _Result:
        """Carry out one transaction that writes nothing: what it reads belongs together."""
        with self._reading_engine.begin() as connection:
            return work(connection)


def _end(connection: Connection) -> None:
    """Close a connection to the ledger, whatever state it is in: nobody uses it again."""
    connection.invalidate()
    connection.close()


def _let_the_next_sync_do(cursor: DBAPICursor) -> None:
    """Have no sync at a commit: what is in the log goes with the next sync of it, before that and in order."""
    # SQLite keeps another journal where it cannot have this one, and says so only when it is asked.
    cursor.execute("PRAGMA journal_mode")
    if cursor.fetchall() == [("wal",)]:
        cursor.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    # Not the file: to close it again would give up the locks that SQLite has on it.
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # what is wrong there, SQLite finds out as well
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def change(connection: Connection, table: Table, where: ColumnElement[bool], **values: object) -> int:
    """Update the rows of ``instance`` or ``delivery`` for which ``where`` holds, and say how many that were."""
    return connection.execute(update(table).where(where).values(updated_at=now(connection), **values)).rowcount


def driver(url: str) -> dict[str, Any]:
    """Return what ``create_engine`` has to know beside the URL.

    Whoever opens a ledger's file has to: of two SQLites in one process, one takes the locks of the other away.
    """
    return {"module": sqlite3} if make_url(url).get_backend_name() == "sqlite" else {}


def now(connection: Connection) -> float:
    """Tell the time in seconds since the epoch: the server's, where several machines share one."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(select(extract("epoch", func.clock_timestamp()))).scalar_one())


def plainly_now(cursor: DBAPICursor, dialect: str) -> float:
    """Tell the same with the driver alone."""
    if dialect == "sqlite":
        return time.time()
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
    ((seconds,),) = cursor.fetchall()
    return float(seconds)


def _connect_arguments(url: URL) -> dict[str, Any]:
    """Let both ends of a connection to PostgreSQL notice that the network is gone; what the URL says comes first."""
    if url.get_backend_name() != "postgresql":
        return {}
    ours = {**_NETWORK_IS_GONE, "options": " ".join((_MACHINE_IS_GONE, str(url.query.get("options", "")))).strip()}
    return {name: value for name, value in ours.items() if name == "options" or name not in url.query}


def _create_tables(connection: Connection, *, beside_newer: bool) -> None:
    if connection.dialect.name == "postgresql":
        # Of several processes that start at once, the others wait for the first: there is no "if not exists" for types.
        connection.execute(select(func.pg_advisory_xact_lock(_CREATING)))
    bring_up(connection, beside_newer=beside_newer)


def _create_sqlite_file(path: Path) -> None:
    """Make the file before SQLite does, whose journals take over its mode; SQLite syncs only what is in the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for journal in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            Path(f"{path}{journal}").chmod(0o600)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _configure_sqlite(engine: Engine) -> None:
    """Let transactions begin as SQLAlchemy says, not as the driver guesses, and let a commit survive power loss."""

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MILLISECONDS}")
        cursor.execute(f"PRAGMA journal_mode = {_JOURNAL}")
        cursor.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "handle_error")
    def _forget_what_is_read_only(context: ExceptionContext) -> None:
        # A file that was opened while its disk was read-only stays so, however long the disk has been writable again.
        if _READ_ONLY in str(context.original_exception):
            context.is_disconnect = True

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that will write takes its lock at once: one that upgrades later can lose what it has read.
        for statement in connection.get_execution_options().get("begin", _BEGIN):
            connection.exec_driver_sql(statement)
