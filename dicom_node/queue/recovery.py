"""What reconciling the spool with the ledger asks of the ledger, and changes in it.

Every change says again what it takes for granted (``WHERE state = ...``), because between looking at a file and
changing a row another process may have been quicker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, and_, delete, or_, select, tuple_

from dicom_node.model import State
from dicom_node.queue.database import Database, change, now
from dicom_node.queue.schema import FINAL, NOBODYS, delivery, instance
from dicom_node.queue.transitions import hold_waiting_deliveries

if TYPE_CHECKING:
    from collections.abc import Sequence

_MISSING = "its bytes are missing from the spool"


class Done(NamedTuple):
    """An instance that never changes again: since when, and its id."""

    updated_at: float
    id: str


class Recovery(Database):
    """The ledger as it is compared with the spool."""

    def states(self, entry_ids: Sequence[str]) -> dict[str, State]:
        """Tell where these instances stand, as far as they are known."""
        chosen = select(instance.c.id, instance.c.state).where(instance.c.id.in_(entry_ids))
        rows = self._read(lambda connection: connection.execute(chosen).all())
        return {row.id: State(row.state) for row in rows}

    def sent_within(self, entry_ids: Sequence[str], seconds: float) -> set[str]:
        """Tell which of these instances are SENT since less than so many seconds."""

        def read(connection: Connection) -> set[str]:
            is_sent = and_(instance.c.id.in_(entry_ids), instance.c.state == State.SENT)
            is_recent = instance.c.updated_at > now(connection) - seconds
            return set(connection.execute(select(instance.c.id).where(is_sent, is_recent)).scalars())

        return self._read(read) if seconds else set()

    def done_before(self, seconds: float, limit: int, after: Done | None = None) -> list[Done]:
        """List instances that are SENT or DROPPED since at least so many seconds, the oldest first.

        Parameters
        ----------
        after : Done, optional
            The last one of the list before.
        """

        def read(connection: Connection) -> list[Done]:
            key = tuple_(instance.c.updated_at, instance.c.id)
            is_old = and_(instance.c.state.in_(FINAL), instance.c.updated_at <= now(connection) - seconds)
            chosen = select(instance.c.updated_at, instance.c.id).where(is_old)
            if after is not None:
                chosen = chosen.where(key > tuple_(*after))
            rows = connection.execute(chosen.order_by(instance.c.updated_at, instance.c.id).limit(limit))
            return [Done(*row) for row in rows]

        return self._read(read)

    def forget(self, entry_ids: Sequence[str]) -> int:
        """Delete the rows of instances that are SENT or DROPPED, and those of their deliveries; return how many."""

        def write(connection: Connection) -> int:
            done = select(instance.c.id).where(instance.c.id.in_(entry_ids), instance.c.state.in_(FINAL))
            connection.execute(delete(delivery).where(delivery.c.instance_id.in_(done)))
            is_done = and_(instance.c.id.in_(entry_ids), instance.c.state.in_(FINAL))
            return connection.execute(delete(instance).where(is_done)).rowcount

        return self._write(write) if entry_ids else 0

    def unfinished(self) -> list[tuple[str, State, str | None]]:
        """List every instance that is neither SENT nor DROPPED.

        Returns
        -------
        list of tuple
            Id, state, and the name of the clean file if a delivery waits for it.
        """
        # Not a correlated EXISTS: SQLite would walk the waiting deliveries again for each instance.
        # What is stored but not committed may have to be sent again.
        is_waiting = delivery.c.state.in_((State.REDACTED, State.STORED))
        waiting = instance.c.id.in_(select(delivery.c.instance_id).where(is_waiting))
        chosen = select(instance.c.id, instance.c.state, instance.c.redacted_file, waiting.label("is_needed"))
        rows = self._read(lambda connection: connection.execute(chosen.where(instance.c.state.not_in(FINAL))).all())
        return [(row.id, State(row.state), row.redacted_file if row.is_needed else None) for row in rows]

    def attempts(self, entry_ids: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        """Tell how often these instances were claimed for redaction, and which clean file of theirs counts."""
        columns = instance.c.id, instance.c.attempts, instance.c.redacted_file
        chosen = select(*columns).where(instance.c.id.in_(entry_ids))
        rows = self._read(lambda connection: connection.execute(chosen).all())
        return {row.id: (row.attempts, row.redacted_file) for row in rows}

    def without_bytes(self) -> list[str]:
        """List what :meth:`hold_without_bytes` has held because they are missing."""
        chosen = select(instance.c.id).where(instance.c.state == State.HELD, instance.c.reason == _MISSING)
        return list(self._read(lambda connection: connection.execute(chosen).scalars().all()))

    def hold_without_bytes(self, entry_id: str, reason: str = _MISSING) -> bool:
        """Hold an instance whose bytes are gone; a resend of it is no duplicate then, but what the node needs."""
        is_new = or_(instance.c.state != State.HELD, instance.c.fingerprint.is_not(None))
        is_waiting = and_(instance.c.id == entry_id, instance.c.state.not_in(FINAL), is_new)
        held = {"state": State.HELD, "reason": reason, "fingerprint": None}

        def write(connection: Connection) -> bool:
            if not change(connection, instance, is_waiting, **held, **NOBODYS):
                return False
            hold_waiting_deliveries(connection, entry_id)
            return True

        return self._write(write)

    def redact_again(self, entry_id: str, missing_file: str) -> bool:
        """Send an instance back to redaction because its clean file is gone, unless it has another by now."""
        is_without = and_(
            instance.c.id == entry_id,
            instance.c.state == State.REDACTED,
            instance.c.redacted_file == missing_file,
        )
        # A process of an older release writes no digest of what it makes: that of the file before must not stay.
        return self._change(instance, is_without, state=State.RECEIVED, redacted_sha256=None, **NOBODYS)
