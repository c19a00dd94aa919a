"""Deliveries that are stored and not committed: what a destination was asked, and what it reported (PS3.4 J).

A delivery is STORED from the Success of its C-STORE until the destination has committed. The transaction UID is the
fence of all that is written here: it is in the ledger before the destination hears of it, the last one alone counts,
and whoever reports on it changes the rows that carry it. A request that nobody answers ends by ``not_before``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, and_, exists, not_, select

from dicom_node.model import State
from dicom_node.queue.database import Database, change, now
from dicom_node.queue.destinations import is_waiting
from dicom_node.queue.schema import NOBODYS, deliveries, delivery, delivery_of, instance
from dicom_node.queue.transitions import settle

if TYPE_CHECKING:
    from collections.abc import Collection

    from dicom_node.model import CommitmentReport, Delivery

REQUESTS = 3
"""Requests for the commitment of one delivery, the sends between them included, before an operator has to look."""

FOR_GOOD = frozenset({0x0119, 0x0122, 0x0124})
"""Failure reasons that stay: class and instance disagree, the class is not supported, it is not allowed."""

_AT_ONCE = 500

_UNANSWERED = f"it is stored, but {REQUESTS} requests for storage commitment brought no commitment"


class Commitments(Database):
    """What destinations have still to commit to, or have."""

    def settle_stored(self, stored: Delivery, status: int) -> bool:
        """Write down that a destination has stored an instance; it is to be asked for its commitment."""

        def write(connection: Connection) -> bool:
            unasked = {"transaction_uid": None, "not_before": now(connection), "reason": None}
            return settle(connection, stored, state=State.STORED, status=status, **unasked)

        return self._write(write)

    def begin_commitment(self, destination: str, transaction_uid: str, limit: int, timeout: float) -> list[Delivery]:
        """Choose the deliveries that a destination is asked to commit to now, and write the transaction down.

        Those that were asked for too often, and got no answer, are held on the way.

        Parameters
        ----------
        transaction_uid : str
            A new one.
        limit : int
            At most so many.
        timeout : float
            Seconds after which a first request counts as unanswered; the second and third are given twice and three
            times as long.
        """

        def write(connection: Connection) -> list[Delivery]:
            time = now(connection)
            if is_waiting(connection, destination, time):
                return []
            is_due = and_(_is_stored_at(destination), delivery.c.not_before <= time)
            is_unanswered = and_(is_due, delivery.c.requests >= REQUESTS)
            change(connection, delivery, is_unanswered, state=State.HELD, reason=_UNANSWERED)
            first = deliveries().where(is_due, instance.c.state == State.REDACTED).order_by(delivery.c.not_before)
            rows = connection.execute(first.limit(limit).with_for_update(skip_locked=True, of=delivery)).mappings()
            chosen = [delivery_of(row) for row in rows]
            ids = [each.entry_id for each in chosen]
            is_chosen = and_(_is_stored_at(destination), delivery.c.instance_id.in_(ids))
            until = time + timeout * (delivery.c.requests + 1)
            asked = {"transaction_uid": transaction_uid, "requests": delivery.c.requests + 1, "not_before": until}
            change(connection, delivery, is_chosen, **asked, reason=None)
            return chosen

        return self._write(write)

    def settle_unasked(self, transaction_uid: str, reason: str, delay_seconds: float) -> None:
        """Let the deliveries of a transaction wait for another request: the destination has not taken this one.

        They keep the transaction: whether it was taken is not always known, and a report on it may come.
        """

        def write(connection: Connection) -> None:
            later = {"not_before": now(connection) + delay_seconds, "requests": delivery.c.requests - 1}
            change(connection, delivery, _is_open_in(transaction_uid), **later, reason=reason)

        self._write(write)

    def hold_unasked(self, transaction_uid: str, reason: str) -> None:
        """Let the deliveries of a transaction wait for an operator: the destination takes no such request."""
        self._write(
            lambda connection: change(
                connection, delivery, _is_open_in(transaction_uid), state=State.HELD, reason=reason
            )
        )

    def settle_report(self, report: CommitmentReport, destinations: Collection[str], delay_seconds: float) -> list[str]:
        """Write down what a destination has committed to, and what it has not: that is sent again, or held.

        Also what was held because no report came is done by a late one. Instances of which the report says nothing go
        on waiting.

        Parameters
        ----------
        destinations : collection of str
            Whose report it can be.
        delay_seconds : float
            How long what has failed waits for its next try.

        Returns
        -------
        list of str
            Ids of the instances that are SENT by this.
        """

        def write(connection: Connection) -> list[str]:
            is_reported = and_(
                delivery.c.transaction_uid == report.transaction_uid,
                delivery.c.destination.in_(list(destinations)),
                delivery.c.state.in_((State.STORED, State.HELD)),
            )
            # Of two reports that finish the last two deliveries, one has to see the other's.
            of_these = select(delivery.c.instance_id).where(is_reported)
            locked = select(instance.c.id).where(instance.c.id.in_(of_these)).order_by(instance.c.id)
            connection.execute(locked.with_for_update()).all()
            rows = connection.execute(deliveries().where(is_reported)).mappings()
            found = [(delivery_of(row), row["requests"]) for row in rows]
            for each, requests in found:
                if (reason := report.failed.get(each.instance.sop_instance_uid)) is not None:
                    _fail(connection, each, reason, requests, delay_seconds)
            committed = [each for each, _ in found if _is_committed(each, report)]
            done = and_(is_reported, delivery.c.instance_id.in_([each.entry_id for each in committed]))
            change(connection, delivery, done, state=State.SENT, reason=None, **NOBODYS)
            return _settle_whole(connection, [each.entry_id for each in committed])

        return self._write(write)

    def settle_uncommitted(self, destinations: Collection[str]) -> int:
        """Take as sent what was stored at destinations that are, by now, no longer asked for a commitment."""

        def write(connection: Connection) -> int:
            of_these = select(delivery.c.instance_id).where(stored).distinct().limit(_AT_ONCE)
            locked = select(instance.c.id).where(instance.c.id.in_(of_these)).order_by(instance.c.id)
            ids = list(connection.execute(locked.with_for_update()).scalars())
            done = and_(stored, delivery.c.instance_id.in_(ids))
            changed = change(connection, delivery, done, state=State.SENT, reason=None, **NOBODYS)
            _settle_whole(connection, ids)
            return changed

        stored = and_(delivery.c.state == State.STORED, delivery.c.destination.in_(list(destinations)))
        return sum(iter(lambda: self._write(write), 0))


def _fail(connection: Connection, failed: Delivery, reason: int, requests: int, delay_seconds: float) -> None:
    is_row = and_(delivery.c.instance_id == failed.entry_id, delivery.c.destination == failed.destination)
    said = f"the destination has not committed to its storage: {reason:04X}H"
    for_good = reason in FOR_GOOD or requests >= REQUESTS
    again: dict[str, Any] = {"state": State.HELD if for_good else State.REDACTED, "transaction_uid": None}
    change(connection, delivery, is_row, **again, not_before=now(connection) + delay_seconds, reason=said)


def _is_committed(reported: Delivery, report: CommitmentReport) -> bool:
    """Whether the destination has said so, and nothing else beside it."""
    uid = reported.instance.sop_instance_uid
    return uid in report.committed and uid not in report.failed


def _settle_whole(connection: Connection, entry_ids: list[str]) -> list[str]:
    """Make those instances SENT of which all deliveries are, and return their ids."""
    unsent = exists().where(delivery.c.instance_id == instance.c.id, delivery.c.state != State.SENT)
    is_whole = and_(instance.c.id.in_(entry_ids), instance.c.state == State.REDACTED, not_(unsent))
    whole = list(connection.execute(select(instance.c.id).where(is_whole)).scalars())
    change(connection, instance, instance.c.id.in_(whole), state=State.SENT)
    return whole


def _is_stored_at(destination: str) -> ColumnElement[bool]:
    return and_(delivery.c.destination == destination, delivery.c.state == State.STORED)


def _is_open_in(transaction_uid: str) -> ColumnElement[bool]:
    return and_(delivery.c.state == State.STORED, delivery.c.transaction_uid == transaction_uid)
