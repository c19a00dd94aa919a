"""What an operator does to instances, one or some hundred in a transaction; a caller with more comes in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select

from dicom_node.model import State
from dicom_node.queue.database import Database, change, now
from dicom_node.queue.schema import FINAL, NOBODYS, UNASKED, delivery, instance
from dicom_node.queue.selection import shown_as

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.queue.selection import Selection

_ANEW: dict[str, Any] = {**NOBODYS, "reason": None, "deaths": 0}

_REMOVAL = "its removal has begun: drop it again"

_ANONYMOUS: dict[str, Any] = {
    "reason": "removed by an operator, its bytes overwritten",
    **dict.fromkeys(("sop_instance_uid", "study_instance_uid", "series_instance_uid", "sha256"), ""),
    "redacted_sha256": None,
    "redacted_instance": dict.fromkeys(
        ("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid", "transfer_syntax_uid"), ""
    ),
}
"""What stays of a row from which nobody is to find the instance again: UIDs and digests lead to it in other systems."""


class Dropped(NamedTuple):
    """An instance that was given up: its id, and how many attempts may have left a clean file."""

    id: str
    attempts: int


class Bulk(Database):
    """The queue as an operator changes it; ids that are not what he thinks they are (any more) are passed over."""

    def ids(self, selection: Selection, limit: int | None = None) -> list[str]:
        """List the instances that are meant, the oldest first; at most ``limit``."""
        chosen = select(instance.c.id).where(selection.where()).order_by(instance.c.received_at, instance.c.id)
        return self._read(lambda connection: list(connection.execute(chosen.limit(limit)).scalars()))

    def retry_all(self, entry_ids: Sequence[str], destination: str = "") -> int:
        """Let held instances be redacted again, or their held deliveries be sent again; return how many it were.

        With a destination, only what is held on the way there.
        """

        def write(connection: Connection) -> int:
            _lock(connection, entry_ids)
            is_held = and_(delivery.c.instance_id.in_(entry_ids), delivery.c.state == State.HELD)
            of_redacted = select(instance.c.id).where(instance.c.id.in_(entry_ids), instance.c.state == State.REDACTED)
            is_held = and_(is_held, delivery.c.instance_id.in_(of_redacted))
            if destination:
                is_held = and_(is_held, delivery.c.destination == destination)
            counted = select(func.count(delivery.c.instance_id.distinct())).where(is_held)
            retried: int = connection.execute(counted).scalar_one()
            due = {"not_before": now(connection), "failures": 0}
            change(connection, delivery, is_held, state=State.REDACTED, **due, **UNASKED, **_ANEW)
            whole = and_(instance.c.id.in_(entry_ids), instance.c.state == State.HELD)
            return retried + (0 if destination else change(connection, instance, whole, state=State.RECEIVED, **_ANEW))

        return self._write(write)

    def release_all(self, entry_ids: Sequence[str], policy: str, destinations: Sequence[str]) -> int:
        """Let held instances be redacted by another policy, for other destinations; return how many it were."""

        def write(connection: Connection) -> int:
            _lock(connection, entry_ids)
            is_held = and_(instance.c.id.in_(entry_ids), shown_as(State.HELD))
            decided = {"policy": policy, "release_destinations": list(destinations)}
            return change(connection, instance, is_held, state=State.RECEIVED, **decided, **_ANEW)

        return self._write(write)

    def hold_for_removal(self, entry_ids: Sequence[str]) -> list[Dropped]:
        """Take instances that are shown as HELD out of every hand, but not while one is worked on."""

        def write(connection: Connection) -> list[Dropped]:
            time = now(connection)
            of_sent = select(delivery.c.instance_id).where(
                delivery.c.instance_id.in_(entry_ids), _is_in_hand(delivery.c, time)
            )
            is_idle = not_(or_(_is_in_hand(instance.c, time), instance.c.id.in_(of_sent)))
            chosen = _lock(connection, entry_ids, shown_as(State.HELD), is_idle)
            held = instance.c.id.in_([each.id for each in chosen])
            change(connection, instance, held, state=State.HELD, reason=_REMOVAL, **NOBODYS)
            return chosen

        return self._write(write)

    def drop_all(self, entry_ids: Sequence[str], *, anonymous: bool = False) -> list[Dropped]:
        """Give instances up, so that a resend of one is processed anew; what is sent or dropped already stays.

        Parameters
        ----------
        anonymous : bool
            Whether the rows forget UIDs and digests.
        """

        def write(connection: Connection) -> list[Dropped]:
            chosen = _lock(connection, entry_ids, instance.c.state.not_in(FINAL))
            ids = [each.id for each in chosen]
            forgotten = _ANONYMOUS if anonymous else {}
            dropped = {"state": State.DROPPED, "fingerprint": None, **forgotten}
            change(connection, instance, instance.c.id.in_(ids), **dropped, **NOBODYS)
            is_unsent = and_(delivery.c.instance_id.in_(ids), delivery.c.state != State.SENT)
            change(connection, delivery, is_unsent, state=State.DROPPED, **NOBODYS)
            if anonymous:
                change(connection, delivery, delivery.c.instance_id.in_(ids), study_instance_uid="")
            return chosen

        return self._write(write)


def _lock(connection: Connection, entry_ids: Sequence[str], *conditions: ColumnElement[bool]) -> list[Dropped]:
    """Take the rows of instances for this transaction, always in the same order."""
    chosen = select(instance.c.id, instance.c.attempts).where(instance.c.id.in_(entry_ids), *conditions)
    rows = connection.execute(chosen.order_by(instance.c.id).with_for_update())
    return [Dropped(*row) for row in rows]


def _is_in_hand(row: Any, time: float) -> ColumnElement[bool]:  # noqa: ANN401 - the columns of either table
    return and_(row.owner.is_not(None), func.coalesce(row.lease_until, 0.0) > time)
