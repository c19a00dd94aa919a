"""The state: a stage claims a row with a lease, works, and settles it with a fence.

The fence is owner and number of attempts as they were at the claim. A worker that comes back after its lease ran out,
and after another took the work over, changes nothing. A lease that ran out while it was owned means that its worker
died; an instance on which too many died is held. There is no state to be stuck in: "deferred" is a ``not_before`` in
the future, "active" is a lease.

Transactions that change an instance and its deliveries take the instance's row first, so that none waits for another
in a circle.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, select
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from dicom_node.errors import SpoolFull
from dicom_node.model import Delivery, Priority, QueueEntry, RedactedFile, State
from dicom_node.queue import turns
from dicom_node.queue.commitment import Commitments
from dicom_node.queue.database import change, now
from dicom_node.queue.destinations import Destinations, is_waiting, lock
from dicom_node.queue.operator import Operator
from dicom_node.queue.recovery import Recovery
from dicom_node.queue.schema import NOBODYS, delivery, delivery_of, entry_of, instance
from dicom_node.queue.together import Together
from dicom_node.queue.transitions import (
    DELIVERY_DEATHS,
    INSTANCE_DEATHS,
    Accepted,
    Claim,
    accept,
    bury,
    claimable_deliveries,
    claimable_entries,
    fence,
    find,
    insert_plainly,
    lease,
    set_destinations,
    settle,
    settle_whole,
    table_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Ledger(Commitments, Destinations, Operator, Recovery):
    """What is known of every instance; one code path for SQLite and PostgreSQL.

    Every method is one transaction, durable when it returns (:meth:`accept` says what it is instead). A settle returns
    False when the fence was lost: the work is another's now, or an operator has taken it away, and nothing was changed.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._accept_together = Together[QueueEntry, Accepted](self._accept, (OperationalError,), self._turn)

    def accept(self, entry: QueueEntry) -> Accepted:
        """Write down an instance whose bytes are in the spool; the same entry again changes nothing.

        Threads that do so at the same time share a transaction. In SQLite it is durable with the next one of another
        method: if the power is cut before that, the bytes are in the spool, and the row is made again.

        Raises
        ------
        SpoolFull
            When the ledger cannot be written: it is full, locked or not reachable.
        """
        try:
            return self._accept_together(entry)
        except SQLAlchemyError as error:
            raise _unwritable(error) from None

    def _accept(self, entries: Sequence[QueueEntry]) -> list[Accepted]:
        dialect = self._engine.dialect
        with suppress(dialect.loaded_dbapi.Error):
            if self._write_plainly_in_turn(lambda cursor: insert_plainly(cursor, dialect, entries)):
                return [Accepted.NEW] * len(entries)
        # Whatever is not as usual, all of it once more: those that were inserted are found by their ids.
        return self._write_in_turn(lambda connection: [accept(connection, entry) for entry in entries])

    def find(self, entry: QueueEntry) -> str | None:
        """Find the entry by which the same instance was accepted before.

        Raises
        ------
        SpoolFull
            When the ledger cannot be read.
        """
        try:
            return self._read(lambda connection: find(connection, entry))
        except SQLAlchemyError as error:
            raise _unwritable(error) from None

    def claim(self, owner: str, lease_seconds: float) -> QueueEntry | None:
        """Claim the instance whose redaction is next, by priority and age; None when none is due.

        Instances on which the worker died twice are held on the way.
        """

        def write(connection: Connection) -> QueueEntry | None:
            time = now(connection)
            bury(connection, INSTANCE_DEATHS, time)
            rows = turns.first(connection, claimable_entries, time, 1)
            return lease(connection, entry_of(rows[0]), owner, lease_seconds, time) if rows else None

        return self._write(write)

    def claim_deliveries(self, destination: str, owner: str, lease_seconds: float, limit: int) -> list[Delivery]:
        """Claim the next deliveries, by priority and age, at a destination; none when it is paused or down."""

        def write(connection: Connection) -> list[Delivery]:
            time = now(connection)
            if is_waiting(connection, destination, time):
                return []
            bury(connection, DELIVERY_DEATHS, time)
            rows = turns.first(connection, partial(claimable_deliveries, destination, limit=limit), time, limit)
            return [lease(connection, delivery_of(row), owner, lease_seconds, time) for row in rows]

        return self._write(write)

    def claim_run(
        self, destination: str, owner: str, lease_seconds: float, limit: int, last_study: str = ""
    ) -> list[Delivery]:
        """Claim the next deliveries of one study, in order of receipt, at a destination that keeps it.

        Parameters
        ----------
        last_study : str
            Study Instance UID of the last run: that study is gone on with where it is fair.
        """

        def write(connection: Connection) -> list[Delivery]:
            lock(connection, destination)
            time = now(connection)
            if is_waiting(connection, destination, time):
                return []
            bury(connection, DELIVERY_DEATHS, time)
            rows = turns.run(connection, destination, time, limit, last_study)
            return [lease(connection, delivery_of(row), owner, lease_seconds, time) for row in rows]

        return self._write(write)

    def renew(self, live: Iterable[Claim], lease_seconds: float) -> None:
        """Lengthen the leases of jobs that are being worked on.

        Never all of an owner's: a job that its worker has lost track of has to come free.
        """

        def write(connection: Connection) -> None:
            until = now(connection) + lease_seconds
            for claim in claims:
                change(connection, table_of(claim), fence(claim), lease_until=until)

        claims = list(live)
        if claims:
            self._write(write)

    def expire(self, owner: str) -> None:
        """End the leases of a worker that is known to be dead; the next claim counts its deaths."""

        def write(connection: Connection) -> None:
            for table, state, *_ in (INSTANCE_DEATHS, DELIVERY_DEATHS):
                # State and lease are what the index knows, the owner is not.
                in_hand = and_(table.c.state == state, table.c.lease_until.is_not(None), table.c.owner == owner)
                change(connection, table, in_hand, lease_until=now(connection))

        self._write(write)

    def give_back_of(self, owner: str) -> None:
        """End the leases of a worker that had to be ended itself: what it had in hand is due at once, and no death."""

        def write(connection: Connection) -> None:
            for table, state, *_ in (INSTANCE_DEATHS, DELIVERY_DEATHS):
                in_hand = and_(table.c.state == state, table.c.lease_until.is_not(None), table.c.owner == owner)
                change(connection, table, in_hand, **NOBODYS)

        self._write(write)

    def give_back(self, claim: Claim) -> bool:
        """End a lease without a result, as at a drain: the work is due at once, for anyone, and nobody died of it."""
        return self._write(lambda connection: settle(connection, claim))

    def put_last(self, entry: QueueEntry) -> bool:
        """End a lease without a result, and let those go first that wait too: there may be room for one of them."""
        return self._write(lambda connection: settle(connection, entry, not_before=now(connection)))

    def give_back_all(self, claims: Iterable[Claim]) -> None:
        """End several leases so, in one transaction: a disk can take long for each.

        Where another has one by now, as of a worker that could not reach the ledger, nobody has died of it either.
        """

        def write(connection: Connection) -> None:
            for claim in some:
                settle(connection, claim)

        some = list(claims)
        if some:
            self._write(write)

    def settle_redacted(
        self,
        entry: QueueEntry,
        file: RedactedFile,
        destinations: Sequence[str],
        priority: Priority = Priority.MEDIUM,
    ) -> bool:
        """Hand a clean file to its destinations; to those that have the instance already it is not sent again.

        Raises
        ------
        ValueError
            Without a destination: the instance would wait for ever.
        """
        if not destinations:
            msg = "an instance needs a destination"
            raise ValueError(msg)
        clean = {
            "redacted_file": file.name,
            "redacted_size": file.size,
            "redacted_sha256": file.digest,
            "redacted_instance": asdict(file.instance),
        }

        def write(connection: Connection) -> bool:
            if not settle(connection, entry, state=State.REDACTED, reason=None, **clean):
                return False
            set_destinations(connection, entry, set(destinations), priority)
            settle_whole(connection, entry.id)
            return True

        return self._write(write)

    def settle_held(self, entry: QueueEntry, reason: str) -> bool:
        """Let an instance wait for an operator."""
        return self._write(lambda connection: settle(connection, entry, state=State.HELD, reason=reason))

    def settle_damaged(self, entry: QueueEntry, reason: str) -> bool:
        """Let an instance wait whose bytes are of no use; a resend of it is no duplicate then."""
        held = {"state": State.HELD, "reason": reason, "fingerprint": None}
        return self._write(lambda connection: settle(connection, entry, **held))

    def settle_sent(self, sent: Delivery, status: int) -> bool:
        """Write down that a destination has the instance; with the last of them the instance is SENT."""

        def write(connection: Connection) -> bool:
            # Of two senders that finish the last two deliveries, one has to see the other's.
            connection.execute(select(instance.c.id).where(instance.c.id == sent.entry_id).with_for_update())
            if not settle(connection, sent, state=State.SENT, status=status, reason=None):
                return False
            settle_whole(connection, sent.entry_id)
            return True

        return self._write(write)

    def settle_deferred(
        self, deferred: Delivery, reason: str, delay_seconds: float, *, with_study: bool = False
    ) -> bool:
        """Let a delivery wait for its next try, and count a failure.

        Parameters
        ----------
        with_study : bool
            Whether what is behind it in its study waits as well: it cannot go, and would be looked at in vain.
        """

        def write(connection: Connection) -> bool:
            until = now(connection) + delay_seconds
            later = {"not_before": until, "failures": delivery.c.failures + 1}
            if not settle(connection, deferred, reason=reason, **later):
                return False
            if with_study:
                change(connection, delivery, turns.is_behind(deferred, until), not_before=until)
            return True

        return self._write(write)

    def settle_delivery_held(self, held: Delivery, reason: str, status: int | None) -> bool:
        """Let a delivery wait for an operator; the others of its instance go on."""
        return self._write(lambda connection: settle(connection, held, state=State.HELD, reason=reason, status=status))


def _unwritable(error: SQLAlchemyError) -> SpoolFull:
    """Say what kind of error it was, not its text, which may quote a row."""
    return SpoolFull(f"the ledger cannot be used: {type(error).__name__}")
