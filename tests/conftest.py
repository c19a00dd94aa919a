"""What every test gets: a process as it was before another test called a command in it."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Put back what ``log.configure`` and ``StorageSCU`` set for a whole process; pytest does so with the warnings."""
    root, factory = logging.root, logging.getLogRecordFactory()
    handlers, level = root.handlers[:], root.level
    pynetdicom = logging.getLogger("pynetdicom")
    quiet = pynetdicom.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    root.handlers = handlers
    root.setLevel(level)
    pynetdicom.setLevel(quiet)
    logging.setLogRecordFactory(factory)
    structlog.reset_defaults()
