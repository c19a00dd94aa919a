"""The loop that sends to one destination: what waits, and when the destination has to rest."""

from __future__ import annotations

import random
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from dicom_node.errors import Defer, DestinationBusy, DestinationDown, Hold, RedactAgain
from dicom_node.queue.backoff import delay
from dicom_node.worker import settled, since, unexpected

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from dicom_node.destinations import Sender
    from dicom_node.model import Delivery, StoreStatus
    from dicom_node.queue import Queue
    from dicom_node.worker import Leases, Pace

    SendStage = Callable[..., StoreStatus]

BATCH = 32
"""Deliveries claimed together: as many as one association carries without a look at the ledger."""

BUSY_IN_A_ROW = 3
"""After so many deliveries that did not come through, and may not be to blame, the destination is taken to be down."""

log = structlog.get_logger()


class Deliverer:
    """Sends what waits for one destination, on one association, and settles each delivery.

    Parameters
    ----------
    destination : str
        Its name in the configuration.
    stage : callable
        Sends one delivery, by ``sender``.
    sender : Sender
        Probed after a failure, and closed.
    pace : Pace
        Times.
    commits : bool
        Whether the destination has still to commit to what it has stored (see :mod:`dicom_node.worker_commitment`).
    by_study : bool
        Whether the instances of a study have to go in the order in which they were received.
    """

    def __init__(
        self,
        destination: str,
        stage: SendStage,
        sender: Sender,
        pace: Pace,
        *,
        commits: bool = False,
        by_study: bool = False,
    ) -> None:
        self._commits = commits
        self._destination = destination
        self._stage = stage
        self._sender = sender
        self._pace = pace
        self._by_study = by_study
        self._last_study = ""
        self._busy = 0
        self._limit = BATCH

    def send_next(self, queue: Queue, owner: str, leases: Leases, stop: threading.Event) -> bool:
        """Send the next deliveries; False when none is due.

        A destination that was down is probed by C-ECHO once its wait is over, by one of all that send there: no
        delivery is touched before that has succeeded.
        """
        failures = queue.ledger.destination_failures(self._destination)
        if failures and not self._is_back(queue, failures):
            return False
        batch = self._claimed(queue, owner)
        left = deque(batch)
        with leases.held(batch):
            try:
                self._send_all(queue, left, leases, stop)
                self._limit = BATCH
            except DestinationDown as down:
                self._rest(queue, down, 1)
            finally:
                queue.ledger.give_back_all(left)
        return bool(batch)

    def _is_back(self, queue: Queue, failures: int) -> bool:
        """Verify a destination that was down, if it is time and nobody else does."""
        if not queue.ledger.claim_probe(self._destination, self._sender.echo_seconds):
            return False
        try:
            self._sender.echo()
        except DestinationDown as down:
            self._rest(queue, down, failures + 1)
            return False
        except Hold:  # it takes no Verification, but it is there, and has answered
            pass
        queue.ledger.destination_up(self._destination)
        log.info("destination", action="up", destination=self._destination, failures=failures)
        return True

    def _claimed(self, queue: Queue, owner: str) -> list[Delivery]:
        if not self._by_study:
            return queue.ledger.claim_deliveries(self._destination, owner, self._pace.lease, self._limit)
        batch = queue.ledger.claim_run(self._destination, owner, self._pace.lease, self._limit, self._last_study)
        self._last_study = batch[0].study_instance_uid if batch else ""
        return batch

    def _send_all(self, queue: Queue, left: deque[Delivery], leases: Leases, stop: threading.Event) -> None:
        """Send one after the other; what is settled is no longer in ``left``."""
        waiting = sorted({(d.instance.sop_class_uid, d.instance.transfer_syntax_uid) for d in left})
        while left and not stop.is_set():
            is_deferred = self._send(queue, left[0], waiting)
            leases.forget([left.popleft()])
            if self._busy >= BUSY_IN_A_ROW:
                self._busy = 0
                msg = f"{BUSY_IN_A_ROW} instances in a row were not taken"
                raise DestinationDown(msg)
            if is_deferred and self._by_study:
                return

    def _rest(self, queue: Queue, reason: Exception, failures: int) -> None:
        """Let the whole destination wait: its other deliveries would only fail in turn."""
        pause = delay(failures, self._pace.retry, self._pace.retry_maximum, random.random)
        queue.ledger.destination_down(self._destination, str(reason), pause)
        log.warning(
            "destination",
            action="down",
            destination=self._destination,
            reason=str(reason),
            failures=failures,
            seconds=round(pause, 1),
        )
        self._sender.close()
        self._limit = BUSY_IN_A_ROW  # until it takes what it is sent: more would only be claimed and given back

    def _send(self, queue: Queue, delivery: Delivery, waiting: Sequence[tuple[str, str]]) -> bool:
        """Send and settle one delivery, and tell whether it has to be tried again.

        Only :class:`DestinationDown` is left to the caller.
        """
        line = log.bind(stage="send", entry_id=delivery.entry_id, destination=self._destination, bytes=delivery.size)
        started = time.monotonic()
        busy, self._busy = self._busy, 0
        try:
            status = self._stage(delivery, waiting=waiting)
        except DestinationDown:
            raise
        except Defer as defer:
            self._busy = busy + 1 if isinstance(defer, DestinationBusy) else 0
            pause = delay(delivery.failures + 1, self._pace.retry, self._pace.retry_maximum, random.random)
            queue.ledger.settle_deferred(delivery, str(defer), pause, with_study=self._by_study)
            if isinstance(defer, RedactAgain):
                queue.ledger.redact_again(delivery.entry_id, delivery.redacted_file)
            line.warning("instance", action="deferred", reason=str(defer), seconds=since(started))
            return True
        except Hold as hold:
            queue.ledger.settle_delivery_held(delivery, str(hold), None)
            line.warning("instance", action="held", reason=str(hold), seconds=since(started))
        except Exception as error:  # noqa: BLE001 - whatever it was, trying again is for an operator to say
            queue.ledger.settle_delivery_held(delivery, unexpected(error), None)
            line.exception("instance", action="held", reason=unexpected(error), seconds=since(started))
        else:
            settle = queue.ledger.settle_stored if self._commits else queue.ledger.settle_sent
            settled(lambda: settle(delivery, status.status), self._pace)
            action = "stored" if self._commits else "sent"
            line.info("instance", action=action, status=str(status), seconds=since(started))
            with suppress(OSError):  # on a disk that is read-only: what stays is deleted when the queue is reconciled
                queue.finish(delivery.entry_id)
        return False
