"""Whether the node takes instances in: the room there is, what is kept already, and what redaction has yet to write.

An instance that is received needs as much room again for its clean file, and the sender needs a ledger that can be
written, or nothing is ever deleted. So bytes that wait for redaction count twice, and the receiver stops long before
the others have to.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import SpoolFull
from dicom_node.model import Kept, State

if TYPE_CHECKING:
    from dicom_node.model import WaterMarks
    from dicom_node.queue import AnySpool
    from dicom_node.queue.ledger import Ledger

_COUNT_SECONDS = 2.0
_COUNT_SHARE = 20
"""Counting takes longer the more is kept: it gets at most this part of the time."""

log = structlog.get_logger(__name__)


class Room:
    """Closes when a mark is passed, and opens when there is room to spare: it does not flap at the mark.

    Parameters
    ----------
    spool : Spool or ObjectSpool
        Knows what is free, and the minimum of that.
    ledger : Ledger
        Knows what is kept; asked now and then.
    marks : WaterMarks
    """

    def __init__(self, spool: AnySpool, ledger: Ledger, marks: WaterMarks) -> None:
        self._spool = spool
        self._ledger = ledger
        self._marks = marks
        self._lock = threading.Lock()
        self._closed: str | None = None
        self._count_at = 0.0
        self._kept_bytes = 0
        self._to_redact = Kept()

    def check(self) -> None:
        """See whether an instance may come in; as cheap as to be asked for every piece of one.

        Raises
        ------
        SpoolFull
            When it may not.
        """
        if self._is_time_to_count():
            self._count()
        with self._lock:
            reason = self._refusal()
            if (reason is None) != (self._closed is None):
                self._say(reason)
            self._closed = reason
        if reason is not None:
            raise SpoolFull(reason)

    def took(self, size: int) -> None:
        """Count an instance that was accepted since the ledger was asked."""
        with self._lock:
            self._kept_bytes += size
            waiting = self._to_redact
            self._to_redact = Kept(waiting.instances + 1, waiting.original_bytes + size)

    def _refusal(self) -> str | None:
        marks, is_closed = self._marks, self._closed is not None
        high = marks.low_water if is_closed else marks.high_water
        spare = marks.resume_free - marks.minimum_free if is_closed else 0
        if marks.high_water and self._kept_bytes > high:
            return "more in the spool than the configured high-water mark"
        try:
            self._spool.check_room(self._to_redact.original_bytes + spare, self._to_redact.instances)
        except SpoolFull as full:
            return str(full)
        return None

    def _is_time_to_count(self) -> bool:
        """Let one thread count; the others go on with the last numbers, however long the ledger takes."""
        with self._lock:
            is_time = time.monotonic() >= self._count_at
            if is_time:
                self._count_at = float("inf")
        return is_time

    def _count(self) -> None:
        started = time.monotonic()
        try:
            kept = self._ledger.kept()
        except SQLAlchemyError:  # the last numbers serve: whether it can be written, accepting finds out
            kept = None
        ended = time.monotonic()
        with self._lock:
            self._count_at = ended + max(_COUNT_SECONDS, _COUNT_SHARE * (ended - started))
            if kept is not None:
                self._kept_bytes = sum(each.original_bytes + each.clean_bytes for each in kept.values())
                self._to_redact = kept[State.RECEIVED]

    def _say(self, reason: str | None) -> None:
        if reason is None:
            log.warning("spool", action="takes instances again", bytes=self._kept_bytes)
        else:
            log.error("spool", action="takes no instances", reason=reason, bytes=self._kept_bytes)
