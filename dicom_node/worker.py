"""Claim, stage, settle: the loop of every worker, and the one place where any exception becomes a state.

A worker owns what it has claimed until it settles it or its lease runs out. Whatever a stage raises that is not in the
error tree means that nobody knows what happened: the instance is held, its traceback (places, no values) is logged.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dicom_node.errors import Defer, DestinationBusy, DestinationDown, Hold, SpoolFull
from dicom_node.queue.backoff import delay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dicom_node.destinations import Sender
    from dicom_node.model import Delivery, QueueEntry, StoreStatus
    from dicom_node.queue import Claim, Queue
    from dicom_node.stages import Redacted

    RedactStage = Callable[[QueueEntry], Redacted]
    SendStage = Callable[..., StoreStatus]

BATCH = 32
"""Deliveries claimed together: as many as one association carries without a look at the ledger."""

BUSY_IN_A_ROW = 3
"""After so many deliveries that did not come through, and may not be to blame, the destination is taken to be down."""

RENEWALS = 4
"""Renewals in one lease: three may be late."""

FAILING_SECONDS = 10.0
"""The longest pause while the ledger or the spool cannot be used: so long after they are back, all goes on."""

EXIT_STUCK = 70

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take; all in seconds."""

    lease: float
    poll: float
    retry: float
    retry_maximum: float
    limit: float


class Leases:
    """Renews the leases of the jobs this process has in hand, from a thread of its own.

    A job that takes longer than the limit is stuck, and no exception can be raised into a codec: the process ends, the
    lease runs out, and after two such deaths the instance is held.
    """

    def __init__(self, queue: Queue, pace: Pace) -> None:
        self._queue = queue
        self._pace = pace
        self._lock = threading.Lock()
        self._live: dict[Claim, float] = {}
        self._unsettled: set[Claim] = set()
        threading.Thread(target=self._renew, name="leases", daemon=True).start()

    @contextmanager
    def held(self, claims: Sequence[Claim]) -> Iterator[None]:
        """Keep claims alive while their jobs are worked on.

        What is raised in here says that the ledger could not be written: it hears later that nobody died.
        """
        with self._lock:
            self._live.update(dict.fromkeys(claims, time.monotonic()))
        try:
            yield
        except SpoolFull:
            raise
        except Exception:
            with self._lock:
                self._unsettled.update(claims)
            raise
        finally:
            self.forget(claims)

    def forget(self, claims: Sequence[Claim]) -> None:
        """Stop renewing: settled, or given back."""
        with self._lock:
            for claim in claims:
                self._live.pop(claim, None)

    def _renew(self) -> None:
        while True:
            time.sleep(self._pace.lease / RENEWALS)
            with self._lock:
                live, unsettled = dict(self._live), set(self._unsettled)
            if live and time.monotonic() - min(live.values()) > self._pace.limit:
                log.critical("stuck", action="exit", seconds=self._pace.limit)
                os._exit(EXIT_STUCK)
            try:
                self._queue.ledger.renew(live, self._pace.lease)
                self._queue.ledger.outlived(unsettled)
                with self._lock:
                    self._unsettled -= unsettled
            except Exception:  # the ledger can be away for a while; the fence decides whose the work is then
                log.warning("leases not renewed", exc_info=True)


def work(step: Callable[[], bool], stop: threading.Event, poll: float) -> None:
    """Take steps until told to stop; wait after one that found nothing to do, and longer after each that failed."""
    failures = 0
    while not stop.is_set():
        try:
            did_something = step()
        except SpoolFull:
            failures += 1
        except Exception:
            log.exception("step failed")
            failures += 1
        else:
            failures = 0
            if not did_something:
                stop.wait(poll)
        if failures:
            stop.wait(delay(failures, poll, FAILING_SECONDS, random.random))


def redact_next(queue: Queue, owner: str, leases: Leases, pace: Pace, stage: RedactStage) -> bool:
    """Redact the next instance that waits; False when there is none.

    Raises
    ------
    SpoolFull
        When there is no room for the clean file; the instance waits again.
    """
    entry = queue.ledger.claim(owner, pace.lease)
    if entry is None:
        return False
    line = log.bind(stage="redact", entry_id=entry.id, bytes=entry.size, attempts=entry.attempts)
    started = time.monotonic()
    with leases.held([entry]):
        try:
            done = stage(entry)
        except SpoolFull as full:  # the instance is not to blame: it waits for room
            line.warning("instance", action="given back", reason=str(full), seconds=_since(started))
            _settle(lambda: queue.ledger.put_last(entry), pace)
            raise
        except Hold as hold:
            reason = str(hold)
            settled = _settle(lambda: queue.ledger.settle_held(entry, reason), pace)
            line.warning("instance", action="held" if settled else "lost", reason=reason, seconds=_since(started))
        except Exception as error:  # noqa: BLE001 - whatever it was, the instance is not known to be clean
            reason = _unexpected(error)
            line.exception("instance", action="held", reason=reason, seconds=_since(started))
            if not _settle(lambda: queue.ledger.settle_held(entry, reason), pace):
                line.warning("instance", action="lost")
        else:
            settled = _settle(
                lambda: queue.ledger.settle_redacted(entry, done.file, done.destinations, done.priority), pace
            )
            line.info(
                "instance",
                action="redacted" if settled else "lost",
                outcome=done.redaction.outcome,
                route=done.route,
                policy=done.policy,
                regions=len(done.redaction.regions),
                seconds=_since(started),
            )
    return True


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
            line.warning("instance", action="deferred", reason=str(defer), seconds=_since(started))
            return True
        except Hold as hold:
            queue.ledger.settle_delivery_held(delivery, str(hold), None)
            line.warning("instance", action="held", reason=str(hold), seconds=_since(started))
        except Exception as error:  # noqa: BLE001 - whatever it was, trying again is for an operator to say
            queue.ledger.settle_delivery_held(delivery, _unexpected(error), None)
            line.exception("instance", action="held", reason=_unexpected(error), seconds=_since(started))
        else:
            settle = queue.ledger.settle_stored if self._commits else queue.ledger.settle_sent
            _settle(lambda: settle(delivery, status.status), self._pace)
            action = "stored" if self._commits else "sent"
            line.info("instance", action=action, status=str(status), seconds=_since(started))
            with suppress(OSError):  # on a disk that is read-only: what stays is deleted when the queue is reconciled
                queue.finish(delivery.entry_id)
        return False


def _settle(settle: Callable[[], bool], pace: Pace) -> bool:
    """Write a result down; again and again while the lease lasts, as the work is done and the ledger may come back.

    Again is safe: where the first try was written after all, the fence lets the next change nothing.
    """
    deadline = time.monotonic() + pace.lease
    while True:
        try:
            return settle()
        except Exception:
            if time.monotonic() + pace.poll > deadline:
                raise
            log.warning("not settled", exc_info=True)
            time.sleep(pace.poll)


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _unexpected(error: Exception) -> str:
    return f"unexpected: {type(error).__name__}"
