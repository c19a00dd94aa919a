"""What is stored, and has still to be committed to: the loop that asks one destination."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import structlog

from dicom_node.errors import Defer, DestinationDown, Hold
from dicom_node.queue.backoff import delay
from dicom_node.storage_commitment import new_transaction_uid

if TYPE_CHECKING:
    from dicom_node.queue import Queue
    from dicom_node.storage_scu_commitment import StorageCommitmentSCU
    from dicom_node.worker import Pace

ASKED_TOGETHER = 500
"""Instances in one request at most."""

_POLLS = 10
"""Polls between two requests: what is stored meanwhile is asked for in one."""

log = structlog.get_logger()


class Committer:
    """Asks a destination to commit to what it has stored.

    Parameters
    ----------
    destination : str
        Its name in the configuration.
    scu : StorageCommitmentSCU
        Asks it.
    pace : Pace
        Times.
    timeout : float
        Seconds to wait for a report before it is asked again.
    """

    def __init__(self, destination: str, scu: StorageCommitmentSCU, pace: Pace, timeout: float) -> None:
        self._destination = destination
        self._scu = scu
        self._pace = pace
        self._timeout = timeout
        self._due = 0.0

    def ask_next(self, queue: Queue) -> bool:
        """Ask for what was stored since the last time; False when it is too early, or there is nothing to ask for."""
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + _POLLS * self._pace.poll
        transaction_uid = new_transaction_uid()
        waiting = queue.ledger.begin_commitment(self._destination, transaction_uid, ASKED_TOGETHER, self._timeout)
        if not waiting:
            return False
        line = log.bind(stage="commit", destination=self._destination, count=len(waiting))
        try:
            self._scu.request(transaction_uid, [each.instance for each in waiting])
        except Hold as hold:
            queue.ledger.hold_unasked(transaction_uid, str(hold))
            line.warning("commitment", action="held", reason=str(hold))
        except Defer as defer:
            self._wait(queue, transaction_uid, defer)
            line.warning("commitment", action="deferred", reason=str(defer))
        else:
            queue.ledger.destination_up(self._destination)
            line.info("commitment", action="requested")
        self._due = self._due if len(waiting) < ASKED_TOGETHER else 0.0
        return True

    def close(self) -> None:
        """Release the association."""
        self._scu.close()

    def _wait(self, queue: Queue, transaction_uid: str, defer: Defer) -> None:
        failures = queue.ledger.destination_failures(self._destination) + 1
        pause = delay(failures, self._pace.retry, self._pace.retry_maximum, random.random)
        queue.ledger.settle_unasked(transaction_uid, str(defer), pause)
        if isinstance(defer, DestinationDown):
            queue.ledger.destination_down(self._destination, str(defer), pause)
