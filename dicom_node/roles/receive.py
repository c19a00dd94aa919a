"""The role ``receive``: the Storage SCP, into the queue."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import structlog

from dicom_node.listener import Listener
from dicom_node.roles.process import run, say_ready
from dicom_node.routes import early_priority
from dicom_node.storage_scp import StorageSCP

if TYPE_CHECKING:
    import threading

    from dicom_node.config import Configuration
    from dicom_node.queue import Queue

_STOPPED_WITHIN = 0.5
"""Seconds."""

log = structlog.get_logger()


def main(configuration: Configuration, queue: Queue, stop: threading.Event, *descriptors: int) -> None:
    """Receive until told to stop, then let associations end."""
    listener = Listener.inherited(descriptors, is_shared=configuration.receive.processes > 1)
    priority_of = partial(early_priority, configuration.routes)
    scp = StorageSCP(configuration.receive, queue, configuration.reporters, priority_of, listener)
    host, port = scp.start()
    log.info("listening", ae_title=configuration.receive.ae_title, host=host, port=port)
    say_ready()
    # Not for ever: Python sees a signal that comes in the moment before the wait only after it.
    while not stop.wait(_STOPPED_WITHIN):
        pass
    scp.drain(configuration.queue.drain_seconds)


if __name__ == "__main__":
    run("receive", main)
