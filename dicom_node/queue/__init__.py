"""The queue: where the stages meet, and all that survives power loss.

Two things with one owner: the :class:`Spool` has the bytes, the :class:`Ledger` the state. The order between them keeps
the promise: bytes are durable before a row speaks of them, and go only after the row says that they may.
"""

from __future__ import annotations

import hashlib
import stat
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

import structlog
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import ConfigurationError, SpoolFull
from dicom_node.model import Origin, Priority, QueueEntry, SOPInstance, State
from dicom_node.queue.ledger import Ledger
from dicom_node.queue.operator import EntrySummary
from dicom_node.queue.spool import Sidecar, Spool
from dicom_node.queue.transitions import Accepted, Claim

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Accepted", "Claim", "EntrySummary", "Ledger", "Queue", "Reconciliation", "Sidecar", "Spool", "open_queue"]

_AT_ONCE = 500
"""Ids that are looked up in one query."""

_Finding = Literal["as_it_should_be", "inserted", "duplicates", "deleted", "held", "redact_again", "unreadable"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What :meth:`Queue.reconcile` found and did, in numbers.

    Attributes
    ----------
    inserted : int
        Bytes without a row: now they have one.
    duplicates, deleted : int
        Bytes that went: another entry has the same, or they are sent or dropped.
    held : int
        Rows without bytes.
    redact_again : int
        Rows without their clean file.
    unreadable : int
        Bytes whose sidecar is missing or damaged: left where they are.
    swept : int
        Files that a crash left behind.
    """

    inserted: int = 0
    duplicates: int = 0
    deleted: int = 0
    held: int = 0
    redact_again: int = 0
    unreadable: int = 0
    swept: int = 0


class Queue:
    """Spool and ledger as one: the only way in and out for bytes.

    Parameters
    ----------
    spool : Spool
    ledger : Ledger
    """

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self.spool = spool
        self.ledger = ledger

    def accept(
        self, incoming: Path, instance: SOPInstance, origin: Origin, priority: Priority = Priority.MEDIUM
    ) -> tuple[str, Accepted]:
        """Take over the responsibility for a received file: its bytes and its row are durable when this returns.

        Parameters
        ----------
        incoming : Path
            The whole file, in the spool's ``incoming``; it is taken away from there.

        Returns
        -------
        tuple of str and Accepted
            The id of the entry that has these bytes; of an earlier one when this is a DUPLICATE.

        Raises
        ------
        SpoolFull
            Nothing was accepted; the sender keeps its copy.
        """
        entry = _new_entry(incoming, instance, origin, priority)
        known = self.ledger.find(entry)
        if known is None:
            self.spool.check_room()
            self.spool.put(incoming, entry.id, Sidecar(instance, origin, entry.sha256, entry.size, priority))
            # When this fails the bytes stay, and reconcile finds them. Whether the row is there is not known then (a
            # connection can break after the server has committed), and a row without bytes would make the resend a
            # duplicate of nothing. Bytes too many do no harm: they get a row, or turn out to be a duplicate.
            if self.ledger.accept(entry) is Accepted.NEW:
                return entry.id, Accepted.NEW
            known = self.ledger.find(entry)
        with suppress(OSError):  # What stays is swept, or found to be a duplicate by reconcile.
            incoming.unlink(missing_ok=True)
            self.spool.remove(entry.id, attempts=0)
        return known or entry.id, Accepted.DUPLICATE

    def finish(self, entry_id: str) -> bool:
        """Delete the bytes of an instance that is SENT; False, and nothing done, when it is not."""
        entry = self.ledger.entry(entry_id).entry
        if entry.state is State.SENT:
            self.spool.remove(entry.id, entry.attempts)
        return entry.state is State.SENT

    def drop(self, entry_id: str) -> bool:
        """Give an instance up and delete its bytes; False when it is sent or dropped already."""
        entry = self.ledger.entry(entry_id).entry
        dropped = self.ledger.drop(entry.id)
        if dropped:
            self.spool.remove(entry.id, entry.attempts)
        return dropped

    def reconcile(self, older_than_seconds: float = 3600.0) -> Reconciliation:
        """Make the ledger agree with the spool, while receivers, redactors and senders work.

        Rows come first: bytes that are a duplicate of a row may go only if that row has its own.

        Parameters
        ----------
        older_than_seconds : float
            Duplicates and left-over files are deleted only when they were written so long ago that nobody can have
            them in hand any more. Everything else is done at once.

        Raises
        ------
        SpoolFull
            When the ledger cannot be written.
        """
        found: Counter[str] = Counter()
        rows = self.ledger.unfinished()
        found.update(self._check_row(*row) for row in rows)
        entry_ids = self.spool.entry_ids()
        while some := list(islice(entry_ids, _AT_ONCE)):
            states = self.ledger.states(some)
            found.update(self._check_bytes(each, states.get(each), older_than_seconds) for each in some)
        swept = self.spool.sweep(older_than_seconds, keep={entry_id for entry_id, _, _ in rows})
        del found["as_it_should_be"]
        return Reconciliation(swept=swept, **found)

    def _check_row(self, entry_id: str, state: State, redacted_file: str | None) -> _Finding:
        # Files are older than what the row says of them, and go only after it says SENT or DROPPED. So a file that is
        # missing here is lost, if the row has still not changed: the ledger asks that again when it changes the row.
        if not self.spool.original(entry_id).exists():
            return "held" if self.ledger.hold_without_bytes(entry_id) else "as_it_should_be"
        if state is not State.REDACTED or redacted_file is None or self.spool.redacted(redacted_file).exists():
            return "as_it_should_be"
        return "redact_again" if self.ledger.redact_again(entry_id, redacted_file) else "as_it_should_be"

    def _check_bytes(self, entry_id: str, state: State | None, older_than_seconds: float) -> _Finding:
        if state is None:
            return self._insert(entry_id, older_than_seconds)
        if state not in (State.SENT, State.DROPPED):
            return "as_it_should_be"
        # Final, so a sender that is deleting the same files at this moment only makes them go sooner.
        self.spool.remove(entry_id, self.ledger.entry(entry_id).entry.attempts)
        return "deleted"

    def _insert(self, entry_id: str, older_than_seconds: float) -> _Finding:
        sidecar = self._readable_sidecar(entry_id)
        if sidecar is None and not self.spool.original(entry_id).exists():
            return "as_it_should_be"  # Accepted, sent and deleted since it was listed.
        if sidecar is None:
            log.error("bytes without a readable sidecar", entry_id=entry_id)
            return "unreadable"
        # Its receiver may be about to insert the row itself: the same id is accepted twice without harm.
        entry = QueueEntry(
            entry_id,
            sidecar.instance,
            sidecar.origin,
            State.RECEIVED,
            sidecar.sha256,
            sidecar.size,
            priority=sidecar.priority,
        )
        if self.ledger.accept(entry) is Accepted.NEW:
            return "inserted"
        # A receiver may still wait to insert this row. Were the other entry dropped meanwhile, it would succeed, and
        # must find its bytes here: hence the age.
        if self.spool.age(entry_id) < older_than_seconds:
            return "as_it_should_be"
        self.spool.remove(entry_id, attempts=0)
        return "duplicates"

    def _readable_sidecar(self, entry_id: str) -> Sidecar | None:
        try:
            return self.spool.sidecar(entry_id)
        except (OSError, ValueError):
            return None


def open_queue(data_dir: Path, ledger_url: str, minimum_free_bytes: int = 0) -> Queue:
    """Open spool and ledger of a node, and make what is not there yet.

    Raises
    ------
    ConfigurationError
        When the data folder cannot be used, others may write there or read what is in the spool, or the ledger cannot
        be reached.
    """
    try:
        data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        mode = data_dir.stat().st_mode
    except OSError as error:
        msg = f"data_dir: {data_dir}: cannot be used: {error.strerror}"
        raise ConfigurationError(msg) from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        # Who may write here can put another spool and ledger in the place of these. Reading is kept from others there.
        msg = f"data_dir: {data_dir}: others may write there; allowed are modes up to 0755 (chmod go-w)"
        raise ConfigurationError(msg)
    spool = Spool(data_dir / "spool", minimum_free_bytes)
    spool.prepare()
    ledger = Ledger(ledger_url)
    try:
        ledger.create()
    except SQLAlchemyError as error:  # not its text: a password can be in it
        msg = f"ledger: cannot be used: {type(error).__name__}"
        raise ConfigurationError(msg) from None
    return Queue(spool, ledger)


def _new_entry(incoming: Path, instance: SOPInstance, origin: Origin, priority: Priority) -> QueueEntry:
    try:
        with incoming.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        msg = f"a received file cannot be read: {error.strerror}"
        raise SpoolFull(msg) from None
    return QueueEntry(uuid.uuid4().hex, instance, origin, State.RECEIVED, sha256, size, priority=priority)
