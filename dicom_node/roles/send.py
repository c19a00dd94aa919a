"""The role ``send``: one thread a destination, so that one that is down or slow delays no other."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from dicom_node.destinations import make_sender
from dicom_node.node import owner_name
from dicom_node.roles.process import pace, run, say_ready
from dicom_node.stages import send_instance
from dicom_node.worker import Deliverer, Leases, work

if TYPE_CHECKING:
    from dicom_node.config import Configuration
    from dicom_node.destinations import Sender
    from dicom_node.queue import Queue

IDLE_SECONDS = 20.0
"""An association without work is released after so long: peers have few."""


def main(configuration: Configuration, queue: Queue, stop: threading.Event) -> None:
    """Send until told to stop; deliveries in hand are finished, those that were only claimed are given back."""
    leases = Leases(queue, pace(configuration))
    senders = {name: make_sender(configuration, name) for name in configuration.destinations}
    threads = [
        threading.Thread(target=_deliver, args=(configuration, destination, queue, leases, stop), name=destination[0])
        for destination in senders.items()
    ]
    for thread in threads:
        thread.start()
    say_ready()
    for thread in threads:
        thread.join()


def _deliver(
    configuration: Configuration,
    destination: tuple[str, Sender],
    queue: Queue,
    leases: Leases,
    stop: threading.Event,
) -> None:
    name, sender = destination
    times = pace(configuration)
    stage = partial(send_instance, spool=queue.spool, sender=sender)
    by_study = configuration.destinations[name].order == "study"
    deliverer = Deliverer(name, stage, sender, times, by_study=by_study)
    used = time.monotonic()

    def step() -> bool:
        nonlocal used
        if deliverer.send_next(queue, owner_name("send", os.getpid()), leases, stop):
            used = time.monotonic()
            return True
        if time.monotonic() - used > IDLE_SECONDS:
            sender.close()
        return False

    work(step, stop, times.poll)
    sender.close()


if __name__ == "__main__":
    run("send", main)
