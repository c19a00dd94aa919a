"""What every role process does: take its configuration, run until told to stop, say when it works."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import structlog

from dicom_node import log
from dicom_node.config import Configuration
from dicom_node.errors import DicomNodeError
from dicom_node.node import READY, Role
from dicom_node.queue import open_queue
from dicom_node.worker import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.queue import Queue

    RoleMain = Callable[[Configuration, Queue, threading.Event], None]

_line = structlog.get_logger()


def run(role: Role, main: RoleMain) -> None:
    """Run a role in this process; ends it with exit code 0 after a drain, 1 when the role could not work."""
    gc.freeze()
    gc.enable()
    configuration = Configuration.model_validate_json(sys.stdin.readline())
    log.configure(configuration.log_level, role=role)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    try:
        # Whether the ledger is too new is asked where the node is started. Its processes, which are started again when
        # they die, go on after another machine has altered the ledger.
        queue = open_queue(
            configuration.data_dir,
            configuration.ledger_url,
            configuration.receive.water_marks,
            configuration.store,
            keep_originals=configuration.retention.originals_seconds,
            beside_newer=True,
        )
        main(configuration, queue, stop)
    except DicomNodeError as error:
        _line.critical("role cannot work", reason=str(error))
        sys.exit(1)
    _line.info("stopped", pid=os.getpid())


def say_ready() -> None:
    """Tell the supervisor that the role works now."""
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    # Nobody reads on: what a codec prints must not fill the pipe and stop the process.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def pace(configuration: Configuration, *, limit: float = float("inf")) -> Pace:
    """Return the times of the configuration as the worker takes them."""
    queue = configuration.queue
    return Pace(queue.lease_seconds, queue.poll_seconds, queue.retry_seconds, queue.retry_maximum_seconds, limit)


def _stop_at_end_of_input(stop: threading.Event) -> None:
    """Drain when the supervisor is gone, however it went. Not by sys.stdin: its lock would be held at the exit."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()
