"""The queue: where the stages meet, and all that survives power loss.

Two things with one owner: the :class:`Spool` has the bytes, the :class:`Ledger` the state. The order between them keeps
the promise: bytes are durable before a row speaks of them, and go only after the row says that they may.
"""

from __future__ import annotations

import stat
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from dicom_node.errors import ConfigurationError
from dicom_node.model import Origin, Priority, QueueEntry, SOPInstance, State, WaterMarks
from dicom_node.queue.ledger import Ledger
from dicom_node.queue.operator import EntrySummary
from dicom_node.queue.reconcile import Reconciler, Reconciliation
from dicom_node.queue.room import Room
from dicom_node.queue.selection import Selection
from dicom_node.queue.sidecar import Sidecar
from dicom_node.queue.spool import Incoming, Spool
from dicom_node.queue.transitions import Accepted, Claim

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from dicom_node.model import CommitmentReport, Store
    from dicom_node.queue.object_spool import ObjectSpool

    AnySpool = Spool | ObjectSpool

__all__ = [
    "Accepted",
    "Claim",
    "EntrySummary",
    "Incoming",
    "Ledger",
    "Queue",
    "Reconciliation",
    "Selection",
    "Sidecar",
    "Spool",
    "open_queue",
]

RESEND_SECONDS = 30.0
"""How long an instance that a destination reports not to have waits before it is sent again."""

EXPIRED_AT_ONCE = 10_000
"""Rows that one look deletes, in transactions of some hundred: the next look is a minute away."""

_AT_ONCE = 500
"""Ids that are looked up in one query."""


class Queue:
    """Spool and ledger as one: the only way in and out for bytes.

    Parameters
    ----------
    spool : Spool or ObjectSpool
    ledger : Ledger
    marks : WaterMarks, optional
        Within which instances are accepted.
    keep_originals : float
        Seconds that the original of an instance stays once it is SENT.
    """

    def __init__(
        self, spool: AnySpool, ledger: Ledger, marks: WaterMarks | None = None, keep_originals: float = 0.0
    ) -> None:
        self.spool = spool
        self.ledger = ledger
        self.room = Room(spool, ledger, marks or WaterMarks())
        self._keep_originals = keep_originals

    def accept(
        self,
        incoming: Incoming,
        instance: SOPInstance,
        origin: Origin,
        priority: Priority = Priority.MEDIUM,
    ) -> tuple[str, Accepted]:
        """Take over the responsibility for a received file: its bytes are durable when this returns, and it has a row.

        Parameters
        ----------
        incoming : Incoming
            It is taken away from the spool's ``incoming``.

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
        self.room.check()
        self.spool.put(incoming, entry.id, Sidecar(instance, origin, entry.digest, entry.size, priority))
        # When this fails the bytes stay, and reconcile finds them. Whether the row is there is not known then (a
        # connection can break after the server has committed), and a row without bytes would make the resend a
        # duplicate of nothing. Bytes too many do no harm: they get a row, or turn out to be a duplicate.
        if self.ledger.accept(entry) is Accepted.NEW:
            self.room.took(entry.size)
            return entry.id, Accepted.NEW
        # Nobody looks before: the same instance again is rare, and the look would be a transaction for every instance.
        known = self.ledger.find(entry)
        with suppress(OSError):  # What stays is found to be a duplicate by reconcile.
            self.spool.remove(entry.id, attempts=0)
        return known or entry.id, Accepted.DUPLICATE

    def finish(self, entry_id: str) -> bool:
        """Delete the bytes of an instance that is SENT, its original if it is not kept; False when it is not SENT."""
        entry = self.ledger.entry(entry_id).entry
        if entry.state is State.SENT:
            remove = self.spool.remove_attempts if self._keep_originals else self.spool.remove
            remove(entry.id, entry.attempts)
        return entry.state is State.SENT

    def purge(self, entry_id: str) -> bool:
        """Delete the original of an instance that is SENT, however long it was to stay; False when there is none."""
        entry = self.ledger.entry(entry_id).entry
        is_kept = entry.state is State.SENT and self.spool.has_original(entry.id)
        if is_kept:
            self.spool.remove(entry.id, entry.attempts)
        return is_kept

    def expire_rows(self, keep_seconds: float, limit: int = EXPIRED_AT_ONCE) -> int:
        """Delete the rows of instances that are SENT or DROPPED since so long, the oldest first; return how many.

        A row whose bytes are still in the spool stays: without it they would be an instance that has arrived.
        """
        expired, last, look = 0, None, self.spool.look()
        while expired < limit and (done := self.ledger.done_before(keep_seconds, _AT_ONCE, last)):
            last = done[-1]
            expired += self.ledger.forget([each.id for each in done if not look.has_original(each.id)])
        return expired

    def commit(
        self, report: CommitmentReport, destinations: Collection[str], delay_seconds: float = RESEND_SECONDS
    ) -> int:
        """Write down what a destination reports on its storage, and delete the bytes of what is SENT by it.

        Parameters
        ----------
        destinations : collection of str
            Whose report it can be.
        delay_seconds : float
            How long what it has failed to store waits before it is sent again.

        Returns
        -------
        int
            Instances that are SENT by it.
        """
        sent = self.ledger.settle_report(report, destinations, delay_seconds)
        for entry_id in sent:
            with suppress(OSError):  # What stays goes at the next reconcile.
                self.finish(entry_id)
        return len(sent)

    def drop(self, entry_id: str) -> bool:
        """Give an instance up and delete its bytes; False when it is sent or dropped already."""
        return self.drop_all([self.ledger.entry(entry_id).entry.id]) > 0

    def drop_all(self, entry_ids: Sequence[str], *, overwrite: bool = False) -> int:
        """Give instances up and delete their bytes; those that are sent or dropped already stay as they are.

        Parameters
        ----------
        overwrite : bool
            Whether the bytes are overwritten before, and the rows forget UIDs and digests. Only what is held, and not
            in the hands of a worker, can go so: what is overwritten must not be sent. After a crash in between it is
            still held, and has to be dropped again.

        Returns
        -------
        int
            How many went.
        """
        if overwrite:
            held = self.ledger.hold_for_removal(entry_ids)
            for each in held:
                self.spool.overwrite(each.id, each.attempts)
            entry_ids = [each.id for each in held]
        dropped = self.ledger.drop_all(entry_ids, anonymous=overwrite)
        for each in dropped:
            self.spool.remove(each.id, each.attempts)
        return len(dropped)

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
            When the ledger cannot be written, or the spool is not there.
        """
        return Reconciler(self.spool, self.ledger, self._keep_originals).reconcile(older_than_seconds)


def open_queue(
    data_dir: Path,
    ledger_url: str,
    marks: WaterMarks | None = None,
    store: Store | None = None,
    *,
    keep_originals: float = 0.0,
    beside_newer: bool = False,
) -> Queue:
    """Open spool and ledger of a node, and make what is not there yet.

    Parameters
    ----------
    store : Store, optional
        Where the spool is, when it is not in the data folder.
    beside_newer : bool
        Work with a ledger that a newer release has altered.

    Raises
    ------
    ConfigurationError
        When the data folder cannot be used, others may write there or read what is in the spool, or the store or the
        ledger cannot be used or is not for this release.
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
    spool = _spool(Spool(data_dir / "spool", marks.minimum_free if marks else 0), store)
    spool.prepare()
    ledger = Ledger(ledger_url)
    try:
        ledger.create(beside_newer=beside_newer)
    except (SQLAlchemyError, OSError) as error:  # not its text: a password can be in it
        msg = f"ledger: cannot be used: {type(error).__name__}"
        raise ConfigurationError(msg) from None
    return Queue(spool, ledger, marks, keep_originals)


def _spool(local: Spool, store: Store | None) -> AnySpool:
    if store is None:
        return local
    # Not installed everywhere: only whoever names a store needs it.
    from dicom_node.queue.object_spool import ObjectSpool  # noqa: PLC0415
    from dicom_node.queue.object_store import open_store  # noqa: PLC0415

    return ObjectSpool(open_store(store), local)


def _new_entry(incoming: Incoming, instance: SOPInstance, origin: Origin, priority: Priority) -> QueueEntry:
    arrived = incoming.digest, incoming.size
    return QueueEntry(uuid.uuid4().hex, instance, origin, State.RECEIVED, *arrived, priority=priority)
