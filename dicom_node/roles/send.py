"""The role ``send``: one thread a destination, so that one that is down or slow delays no other."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from dicom_node.destinations import make_commitment_scu, make_sender
from dicom_node.node import owner_name
from dicom_node.roles.process import pace, run, say_ready
from dicom_node.stages import send_instance
from dicom_node.worker import Leases, work
from dicom_node.worker_commitment import Committer
from dicom_node.worker_send import Deliverer

if TYPE_CHECKING:
    from dicom_node.config import Configuration
    from dicom_node.destinations import Sender
    from dicom_node.queue import Queue

IDLE_SECONDS = 20.0
"""An association without work is released after so long: peers have few."""


class _Destination(NamedTuple):
    name: str
    sender: Sender
    committer: Committer | None


def main(configuration: Configuration, queue: Queue, stop: threading.Event) -> None:
    """Send until told to stop; deliveries in hand are finished, those that were only claimed are given back."""
    leases = Leases(queue, pace(configuration))
    destinations = [
        _Destination(name, make_sender(configuration, name), _committer(configuration, name, queue))
        for name in configuration.destinations
    ]
    threads = [
        threading.Thread(target=_deliver, args=(configuration, destination, queue, leases, stop), name=destination.name)
        for destination in destinations
    ]
    for thread in threads:
        thread.start()
    say_ready()
    for thread in threads:
        thread.join()


def _committer(configuration: Configuration, name: str, queue: Queue) -> Committer | None:
    if name not in configuration.committing:
        return None
    scu = make_commitment_scu(configuration, name, partial(queue.commit, destinations=[name]))
    return Committer(name, scu, pace(configuration), configuration.committing[name].storage_commitment_timeout)


def _deliver(
    configuration: Configuration,
    destination: _Destination,
    queue: Queue,
    leases: Leases,
    stop: threading.Event,
) -> None:
    name, sender, committer = destination
    times = pace(configuration)
    stage = partial(send_instance, spool=queue.spool, sender=sender)
    by_study = configuration.destinations[name].order == "study"
    deliverer = Deliverer(name, stage, sender, times, commits=committer is not None, by_study=by_study)
    used = time.monotonic()

    def step() -> bool:
        nonlocal used
        if committer:
            committer.ask_next(queue)
        if deliverer.send_next(queue, owner_name("send", os.getpid()), leases, stop):
            used = time.monotonic()
            return True
        if time.monotonic() - used > IDLE_SECONDS:
            sender.close()
        return False

    work(step, stop, times.poll)
    sender.close()
    if committer:
        committer.close()


if __name__ == "__main__":
    run("send", main)
