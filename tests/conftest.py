"""What every test gets, a process as others have not changed it; and for those that ask, a ledger."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.support.postgresql import PostgreSQL
from tests.support.s3 import S3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_DEFAULT_PROCESSORS = structlog.get_config()["processors"]


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Put back what ``log.configure`` and ``StorageSCU`` set for a whole process; pytest does so with the warnings."""
    root, factory = logging.root, logging.getLogRecordFactory()
    handlers, level = root.handlers[:], root.level
    pynetdicom = logging.getLogger("pynetdicom")
    quiet = pynetdicom.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    # By itself structlog draws a traceback with rich, with every local in it: that takes seconds.
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*_DEFAULT_PROCESSORS[:-1], renderer])
    yield
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    root.handlers = handlers
    root.setLevel(level)
    pynetdicom.setLevel(quiet)
    logging.setLogRecordFactory(factory)
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Return a server that works; whoever lets it crash has one of its own."""
    server = PostgreSQL()
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a ledger that is not made yet: what holds on SQLite holds on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_ledger()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """Return a store that works; whoever stops it has one of its own."""
    server = S3()
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(params=["directory", "s3"])
def spool_url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return where a spool is that is not made yet: what holds in a directory (no URL) holds in a store."""
    if request.param == "directory":
        return ""
    server: S3 = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.new_bucket()
