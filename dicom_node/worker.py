"""Claim, stage, settle: what the loops of :mod:`worker_redact` and :mod:`worker_send` have in common.

A worker owns what it has claimed until it settles it or its lease runs out. There, and nowhere else, an exception
becomes a state: whatever a stage raises that is not in the error tree means that nobody knows what happened, so the
instance is held, its traceback (places, no values) is logged.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from dicom_node.errors import SpoolFull
from dicom_node.queue.backoff import delay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dicom_node.queue import Claim, Queue

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
                self._queue.ledger.give_back_all(unsettled)
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


def settled(settle: Callable[[], bool], pace: Pace) -> bool:
    """Write a result down, and tell whether it counts; again and again while the lease lasts, as the work is done.

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


def since(started: float) -> float:
    """Return seconds, for the log."""
    return round(time.monotonic() - started, 3)


def unexpected(error: Exception) -> str:
    """Return the reason of what nobody foresaw: its message can have an element value in it."""
    return f"unexpected: {type(error).__name__}"
