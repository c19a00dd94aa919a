"""What reconciling the spool with the ledger asks of the ledger, and changes in it.

Every change says again what it takes for granted (``WHERE state = ...``), because between looking at a file and
changing a row another process may have been quicker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, or_, select

from dicom_node.model import State
from dicom_node.queue.database import Database, change
from dicom_node.queue.schema import FINAL, NOBODYS, delivery, instance
from dicom_node.queue.transitions import hold_waiting_deliveries

if TYPE_CHECKING:
    from collections.abc import Sequence


class Recovery(Database):
    """The ledger as it is compared with the spool."""

    def states(self, entry_ids: Sequence[str]) -> dict[str, State]:
        """Tell where these instances stand, as far as they are known."""
        chosen = select(instance.c.id, instance.c.state).where(instance.c.id.in_(entry_ids))
        rows = self._read(lambda connection: connection.execute(chosen).all())
        return {row.id: State(row.state) for row in rows}

    def unfinished(self) -> list[tuple[str, State, str | None]]:
        """List every instance that is neither SENT nor DROPPED.

        Returns
        -------
        list of tuple
            Id, state, and the name of the clean file if a delivery waits for it.
        """
        # Not a correlated EXISTS: SQLite would walk the waiting deliveries again for each instance.
        waiting = instance.c.id.in_(select(delivery.c.instance_id).where(delivery.c.state == State.REDACTED))
        chosen = select(instance.c.id, instance.c.state, instance.c.redacted_file, waiting.label("is_needed"))
        rows = self._read(lambda connection: connection.execute(chosen.where(instance.c.state.not_in(FINAL))).all())
        return [(row.id, State(row.state), row.redacted_file if row.is_needed else None) for row in rows]

    def hold_without_bytes(self, entry_id: str) -> bool:
        """Hold an instance whose bytes are gone; a resend of it is no duplicate then, but what the node needs."""
        is_new = or_(instance.c.state != State.HELD, instance.c.fingerprint.is_not(None))
        is_waiting = and_(instance.c.id == entry_id, instance.c.state.not_in(FINAL), is_new)
        held = {"state": State.HELD, "reason": "its bytes are missing from the spool", "fingerprint": None}

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
        return self._change(instance, is_without, state=State.RECEIVED, **NOBODYS)
