"""What an operator sees of the queue, and what he can do about it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, and_, false, func, or_, select

from dicom_node.model import Delivery, QueueEntry, State
from dicom_node.queue.database import Database, change, now
from dicom_node.queue.schema import FINAL, NOBODYS, deliveries, delivery, delivery_of, entry_of, instance
from dicom_node.queue.transitions import hold_waiting_deliveries

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
_ANEW: dict[str, Any] = {**NOBODYS, "reason": None, "deaths": 0}


@dataclass(frozen=True, slots=True)
class EntrySummary:
    """One instance and its deliveries."""

    entry: QueueEntry
    deliveries: tuple[Delivery, ...]

    @property
    def state(self) -> State:
        """Where the instance stands: HELD as well when only a delivery of it is."""
        held = self.entry.state is State.REDACTED and any(each.state is State.HELD for each in self.deliveries)
        return State.HELD if held else self.entry.state

    @property
    def reason(self) -> str | None:
        """Why it waits, if it does."""
        reasons = [f"{each.destination}: {each.reason}" for each in self.deliveries if each.reason]
        return self.entry.reason or "; ".join(reasons) or None


class Operator(Database):
    """The queue as an operator sees it."""

    def entries(self, states: Collection[State] | None = None, limit: int = 100) -> list[EntrySummary]:
        """List instances, the latest first.

        Parameters
        ----------
        states : collection of State, optional
            As :attr:`EntrySummary.state` says it; all when absent.
        limit : int
            At most so many.
        """
        chosen = select(instance).order_by(instance.c.received_at.desc(), instance.c.id).limit(limit)
        if states is not None:
            chosen = chosen.where(or_(false(), *(_shown_as(state) for state in states)))
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
            counted = {state: select(func.count()).select_from(instance).where(_shown_as(state)) for state in State}
            return {state.value: connection.execute(count).scalar_one() for state, count in counted.items()}

        return self._read(read)

    def retry(self, entry_id: str) -> bool:
        """Let a held instance be redacted again, or its held deliveries be sent again; False when nothing is held."""

        def write(connection: Connection) -> bool:
            is_held = and_(instance.c.id == entry_id, instance.c.state == State.HELD)
            if change(connection, instance, is_held, state=State.RECEIVED, **_ANEW):
                return True
            is_held = and_(delivery.c.instance_id == entry_id, delivery.c.state == State.HELD)
            due = {"not_before": now(connection), "failures": 0}
            return change(connection, delivery, is_held, state=State.REDACTED, **due, **_ANEW) > 0

        return self._write(write)

    def release(self, entry_id: str, policy: str, destinations: Sequence[str]) -> bool:
        """Let an instance that is held be redacted by another policy, for other destinations; False when it is not."""
        is_held = and_(instance.c.id == entry_id, _shown_as(State.HELD))
        decided = {"policy": policy, "release_destinations": list(destinations)}
        return self._change(instance, is_held, state=State.RECEIVED, **decided, **_ANEW)

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

        def write(connection: Connection) -> bool:
            is_open = and_(instance.c.id == entry_id, instance.c.state.not_in(FINAL))
            if not change(connection, instance, is_open, state=State.DROPPED, fingerprint=None, **NOBODYS):
                return False
            is_unsent = and_(delivery.c.instance_id == entry_id, delivery.c.state != State.SENT)
            change(connection, delivery, is_unsent, state=State.DROPPED, **NOBODYS)
            return True

        return self._write(write)


def _shown_as(state: State) -> ColumnElement[bool]:
    """Tell :attr:`EntrySummary.state` in SQL, so that the index on the state serves."""
    of_held_delivery = select(delivery.c.instance_id).where(delivery.c.state == State.HELD)
    delivery_held = and_(instance.c.state == State.REDACTED, instance.c.id.in_(of_held_delivery))
    if state is State.HELD:
        return or_(instance.c.state == State.HELD, delivery_held)
    if state is State.REDACTED:
        return and_(instance.c.state == State.REDACTED, instance.c.id.not_in(of_held_delivery))
    return instance.c.state == state


def _summaries(connection: Connection, chosen: Select[Any]) -> list[EntrySummary]:
    entries = [entry_of(row) for row in connection.execute(chosen).mappings()]
    of_these = delivery.c.instance_id.in_(chosen.with_only_columns(instance.c.id))
    ordered = deliveries().where(of_these).order_by(delivery.c.instance_id, delivery.c.destination)
    found = [delivery_of(row) for row in connection.execute(ordered).mappings()]
    by_entry = {entry_id: tuple(group) for entry_id, group in groupby(found, lambda each: each.entry_id)}
    return [EntrySummary(entry, by_entry.get(entry.id, ())) for entry in entries]
