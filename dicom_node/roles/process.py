"""What every role process does: take its configuration, run until told to stop, say when it works."""

from __future__ import annotations

import gc
import os
import signal
import socket
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

    RoleMain = Callable[..., None]

_line = structlog.get_logger()


def run(role: Role, main: RoleMain) -> None:
    """Run a role in this process; ends it with exit code 0 after a drain, 1 when the role could not work.

    Parameters
    ----------
    role : Role
    main : callable
        Takes configuration, queue, an event to stop at, and the descriptors that the supervisor has handed over.
    """
    gc.freeze()
    gc.enable()
    told, descriptors = _told()
    configuration = Configuration.model_validate_json(told)
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
        main(configuration, queue, stop, *descriptors)
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


def _told() -> tuple[bytes, list[int]]:
    """Read the line with the configuration, and take over what comes with it."""
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as supervisor:
        line, descriptors, _, _ = socket.recv_fds(supervisor, 1 << 16, 2)
        while line and not line.endswith(b"\n"):
            more = supervisor.recv(1 << 16)
            line = line + more if more else b""
    return line, descriptors


def _stop_at_end_of_input(stop: threading.Event) -> None:
    """Drain when the supervisor is gone, however it went. Not by sys.stdin: its lock would be held at the exit."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()
