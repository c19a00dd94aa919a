"""What an operator sees of the queue, and what he can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Select, and_, false, func, or_, select

from dicom_node.model import Delivery, Kept, QueueEntry, State
from dicom_node.queue.bulk import Bulk
from dicom_node.queue.database import change
from dicom_node.queue.schema import FINAL, NOBODYS, deliveries, delivery, delivery_of, entry_of, instance
from dicom_node.queue.selection import Selection, shown_as
from dicom_node.queue.transitions import hold_waiting_deliveries

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class EntrySummary:
    """One instance and its deliveries."""

    entry: QueueEntry
    deliveries: tuple[Delivery, ...]

    @property
    def state(self) -> State:
        """Where the instance stands: HELD as well when only a delivery of it is; STORED when no more is to be sent."""
        if self.entry.state is not State.REDACTED:
            return self.entry.state
        states = {each.state for each in self.deliveries}
        return next((state for state in (State.HELD, State.REDACTED, State.STORED) if state in states), State.REDACTED)

    @property
    def reason(self) -> str | None:
        """Why it waits, if it does."""
        reasons = [f"{each.destination}: {each.reason}" for each in self.deliveries if each.reason]
        return self.entry.reason or "; ".join(reasons) or None


class Operator(Bulk):
    """The queue as an operator sees it."""

    def entries(
        self, states: Collection[State] | None = None, limit: int = 100, selection: Selection | None = None
    ) -> list[EntrySummary]:
        """List instances, the latest first.

        Parameters
        ----------
        states : collection of State, optional
            As :attr:`EntrySummary.state` says it; all when absent.
        limit : int
            At most so many.
        selection : Selection, optional
            What else has to hold.
        """
        chosen = select(instance).order_by(instance.c.received_at.desc(), instance.c.id).limit(limit)
        if states is not None:
            chosen = chosen.where(or_(false(), *(shown_as(state) for state in states)))
        if selection is not None:
            chosen = chosen.where(selection.where())
        return self._read(lambda connection: _summaries(connection, chosen))

    def entries_of(self, entry_ids: Sequence[str]) -> list[EntrySummary]:
        """List these instances, as far as they are known, in the order of their ids."""
        chosen = select(instance).where(instance.c.id.in_(entry_ids)).order_by(instance.c.id)
        return self._read(lambda connection: _summaries(connection, chosen))

    def entry(self, prefix: str) -> EntrySummary:
        """Find one instance by its id, or by the beginning of it that no other has.

        Raises
        ------
        LookupError
            When there is none, or more than one.
        """
        # A range uses the primary key, which LIKE does not; ids are hexadecimal, so "g" is behind all of them.
        chosen = select(instance).where(instance.c.id.between(prefix, prefix + "g")).limit(2)
        found = self._read(lambda connection: _summaries(connection, chosen))
        if len(found) != 1:
            msg = "several entries have ids that begin so" if found else "no entry has an id that begins so"
            raise LookupError(msg)
        return found[0]

    def counts(self) -> dict[str, int]:
        """Count the instances in every state, as :attr:`EntrySummary.state` says it."""

        def read(connection: Connection) -> dict[str, int]:
            counted = {state: select(func.count()).select_from(instance).where(shown_as(state)) for state in State}
            return {state.value: connection.execute(count).scalar_one() for state, count in counted.items()}

        return self._read(read)

    def kept(self) -> dict[State, Kept]:
        """Sum up what stands in the spool, by the state as :attr:`EntrySummary.state` says it.

        Returns
        -------
        dict of State to Kept
            RECEIVED, REDACTED, STORED and HELD: of others only what retention keeps.
        """
        columns = func.count(), func.sum(instance.c.size), func.sum(instance.c.redacted_size)

        def read(connection: Connection) -> dict[State, Kept]:
            sums = {
                state: connection.execute(select(*columns).where(shown_as(state))).one()
                for state in State
                if state not in FINAL
            }
            return {state: Kept(*(int(number or 0) for number in row)) for state, row in sums.items()}

        return self._read(read)

    def retry(self, entry_id: str) -> bool:
        """Let a held instance be redacted again, or its held deliveries be sent again; False when nothing is held."""
        return self.retry_all([entry_id]) > 0

    def release(self, entry_id: str, policy: str, destinations: Sequence[str]) -> bool:
        """Let an instance that is held be redacted by another policy, for other destinations; False when it is not."""
        return self.release_all([entry_id], policy, destinations) > 0

    def hold(self, entry_id: str, reason: str) -> bool:
        """Hold an instance whoever works on it, all of its deliveries too; False when it is sent or dropped already."""

        def write(connection: Connection) -> bool:
            is_open = and_(instance.c.id == entry_id, instance.c.state.not_in(FINAL))
            if not change(connection, instance, is_open, state=State.HELD, reason=reason, **NOBODYS):
                return False
            hold_waiting_deliveries(connection, entry_id)
            return True

        return self._write(write)

    def drop(self, entry_id: str) -> bool:
        """Give an instance up, so that a resend of it is processed anew; False when it is sent or dropped already.

        Its bytes are for :meth:`dicom_node.queue.Queue.drop` to delete.
        """
        return bool(self.drop_all([entry_id]))


def _summaries(connection: Connection, chosen: Select[Any]) -> list[EntrySummary]:
    entries = [entry_of(row) for row in connection.execute(chosen).mappings()]
    of_these = delivery.c.instance_id.in_(chosen.with_only_columns(instance.c.id))
    ordered = deliveries().where(of_these).order_by(delivery.c.instance_id, delivery.c.destination)
    found = [delivery_of(row) for row in connection.execute(ordered).mappings()]
    by_entry = {entry_id: tuple(group) for entry_id, group in groupby(found, lambda each: each.entry_id)}
    return [EntrySummary(entry, by_entry.get(entry.id, ())) for entry in entries]
