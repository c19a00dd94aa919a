"""How each destination is doing: one that is down, or paused, delays only its own deliveries."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from dicom_node.model import State
from dicom_node.queue.database import AT, Database, change, now
from dicom_node.queue.schema import delivery, destination

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement


class Destinations(Database):
    """The circuit breakers: a destination that has no row never failed."""

    def destination_down(self, name: str, reason: str, delay_seconds: float) -> None:
        """Let all deliveries to a destination wait, and count one more failure in a row."""

        def write(connection: Connection) -> None:
            later = {"not_before": now(connection) + delay_seconds, "reason": reason}
            _change(connection, name, failures=destination.c.failures + 1, **later)

        self._write(write)

    def destination_up(self, name: str) -> None:
        """Forget the failures of a destination: deliveries go out again."""
        if self.destination_failures(name):
            self._write(lambda connection: _change(connection, name, failures=0, not_before=0.0, reason=None))

    def destination_failures(self, name: str) -> int:
        """Tell how many times in a row a destination was down."""
        failures = select(destination.c.failures).where(destination.c.name == name)
        return self._read(lambda connection: connection.execute(failures).scalar() or 0)

    def claim_probe(self, name: str, seconds: float) -> bool:
        """Take it on to verify a destination that is down, once its wait is over.

        Parameters
        ----------
        seconds : float
            Longest time the answer can take. So long nobody else is let, wherever he runs, and whether or not the one
            who took it on lives to tell.

        Returns
        -------
        bool
            False when the destination is up, paused or still waiting, or when another verifies it.
        """

        def write(connection: Connection) -> bool:
            time = now(connection)
            is_due = and_(
                destination.c.name == name,
                destination.c.failures > 0,
                destination.c.paused.is_(False),
                destination.c.not_before <= time,
            )
            taken = update(destination).where(is_due).values(not_before=time + seconds)
            return connection.execute(taken).rowcount == 1

        return self._write(write)

    def pause(self, name: str) -> None:
        """Send nothing to a destination until :meth:`resume`."""
        self._write(lambda connection: _change(connection, name, paused=True))

    def resume(self, name: str) -> None:
        """Send to a destination again."""
        self._write(lambda connection: _change(connection, name, paused=False))

    def hold_unknown_destinations(self, known: Collection[str]) -> int:
        """Hold deliveries to destinations that nobody sends to: they would wait for ever unseen."""
        is_open = delivery.c.state.in_((State.REDACTED, State.STORED))
        is_lost = and_(is_open, delivery.c.owner.is_(None), delivery.c.destination.not_in(list(known)))
        reason = "its destination is no longer configured"
        return self._write(lambda connection: change(connection, delivery, is_lost, state=State.HELD, reason=reason))


def is_waiting(connection: Connection, name: str, time: float) -> bool:
    """Whether the destination of this name takes nothing now: also when it has still to be verified."""
    return connection.execute(_waiting(name), {"at": time}).first() is not None


@cache
def _waiting(name: str) -> Select[Any]:
    waits: ColumnElement[bool] = or_(destination.c.paused, destination.c.failures > 0, destination.c.not_before > AT)
    return select(destination.c.name).where(destination.c.name == name, waits)


def lock(connection: Connection, name: str) -> None:
    """Let no other transaction that asks for it go on with this destination until this one has ended."""
    row = select(destination.c.name).where(destination.c.name == name).with_for_update()
    if not connection.execute(row).first():
        _insert(connection, name)
        connection.execute(row)


def _change(connection: Connection, name: str, **values: object) -> None:
    _insert(connection, name)
    connection.execute(update(destination).where(destination.c.name == name).values(**values))


def _insert(connection: Connection, name: str) -> None:
    # The savepoint: another sender may have inserted the row, and PostgreSQL gives up the transaction on an error.
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(insert(destination).values(name=name))
