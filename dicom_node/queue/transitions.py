"""The steps inside the ledger's transactions: each is a function of a connection that a transaction is open on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    not_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from dicom_node.errors import SpoolFull
from dicom_node.model import Delivery, Priority, QueueEntry, State
from dicom_node.queue.database import AT, change, now, plainly_now
from dicom_node.queue.schema import NOBODYS, UNASKED, deliveries, delivery, instance, row_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy.engine.interfaces import DBAPICursor
    from sqlalchemy.sql.dml import ReturningInsert

Claim = QueueEntry | Delivery
"""What a worker has claimed: it carries its own fence."""

_Claimed = TypeVar("_Claimed", QueueEntry, Delivery)


class DeathLimit(NamedTuple):
    """How many workers may die on one row, of those that are claimed in a state, before it is held."""

    table: Table
    state: State
    deaths: int
    reason: str


INSTANCE_DEATHS = DeathLimit(instance, State.RECEIVED, 2, "the worker process died twice on this instance")
DELIVERY_DEATHS = DeathLimit(delivery, State.REDACTED, 10, "the sender process died ten times on this delivery")
"""More, because a sender that dies is rarely the instance's fault: it has many in hand."""


class Accepted(StrEnum):
    """What became of a received instance."""

    NEW = "NEW"
    DUPLICATE = "DUPLICATE"


def fingerprint(entry: QueueEntry) -> str:
    """Tell what makes two received instances the same: SOP Instance UID, bytes, and who sent it to whom."""
    parts = entry.instance.sop_instance_uid, entry.digest, entry.origin.calling_ae_title, entry.origin.called_ae_title
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def find(connection: Connection, entry: QueueEntry) -> str | None:
    """Find the id by which the same instance is known."""
    same = select(instance.c.id).where(instance.c.fingerprint == fingerprint(entry))
    return connection.execute(same).scalar()


def accept(connection: Connection, entry: QueueEntry) -> Accepted:
    """Insert an instance unless it is here already."""
    if connection.execute(_insertion(connection.dialect.name), _new_row(entry, now(connection))).first():
        return Accepted.NEW
    if connection.execute(select(instance.c.id).where(instance.c.id == entry.id)).first():
        return Accepted.NEW
    if find(connection, entry) is None:
        msg = "the ledger lost an instance while it was looked at"
        raise SpoolFull(msg)
    return Accepted.DUPLICATE


def insert_plainly(cursor: DBAPICursor, dialect: Dialect, entries: Sequence[QueueEntry]) -> bool:
    """Insert instances with the driver alone; False as soon as one is here already."""
    time = plainly_now(cursor, dialect.name)
    for entry in entries:
        # Defaults and types of columns are SQLAlchemy's: the driver has values as it takes them.
        row = {**_new_row(entry, time), "state": State.RECEIVED.value, "release_destinations": "[]"}
        row |= {"attempts": 0, "deaths": 0}
        cursor.execute(_plain_insertion(dialect, tuple(row)), row)
        if not cursor.fetchall():
            return False
    return True


@cache
def _plain_insertion(dialect: Dialect, names: tuple[str, ...]) -> str:
    named = sqlite.dialect(paramstyle="named") if dialect.name == "sqlite" else dialect
    columns = [name for name in names if name in instance.columns]
    return str(_insertion(dialect.name).compile(dialect=named, column_keys=columns))


@cache
def _insertion(dialect: str) -> ReturningInsert[tuple[str]]:
    """Make the statement for :func:`_new_row`, once: to make it costs several times what the row does."""
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    other_bytes = exists().where(
        instance.c.sop_instance_uid == bindparam("of_this_uid"),
        instance.c.sha256 != bindparam("of_this_sha256"),
    )
    new = insert_into(instance).values(conflict=select(other_bytes).scalar_subquery())
    return new.on_conflict_do_nothing().returning(instance.c.id)


def _new_row(entry: QueueEntry, time: float) -> dict[str, Any]:
    return {
        **row_of(entry),
        "state": State.RECEIVED,
        "fingerprint": fingerprint(entry),
        "of_this_uid": entry.instance.sop_instance_uid,
        "of_this_sha256": entry.digest,
        # A receiver's clock may be ahead of the ledger's.
        "not_before": min(entry.origin.received_at, time),
        "updated_at": time,
    }


@cache
def claimable_entries(priority: Priority) -> Select[Any]:
    """Select the one instance of a priority that is redacted next."""
    is_due = and_(instance.c.state == State.RECEIVED, instance.c.priority == int(priority), is_free(instance))
    first = select(instance).where(is_due).order_by(instance.c.not_before).limit(1)
    return first.with_for_update(skip_locked=True)


@cache
def claimable_deliveries(destination: str, priority: Priority, limit: int) -> Select[Any]:
    """Select the deliveries of a priority that are sent next to a destination."""
    first = deliveries().where(is_due_at(destination), delivery.c.priority == int(priority))
    return first.order_by(delivery.c.not_before).limit(limit).with_for_update(skip_locked=True, of=delivery)


def is_due_at(destination: str) -> ColumnElement[bool]:
    """Tell the deliveries that can be sent to a destination now; needs both tables."""
    return and_(
        delivery.c.destination == destination,
        delivery.c.state == State.REDACTED,
        instance.c.state == State.REDACTED,
        is_free(delivery),
    )


def is_free(table: FromClause) -> ColumnElement[bool]:
    """Tell the rows that are due and in nobody's hands."""
    # coalesce, not IS NULL: the planner would take the index on the lease, in which nearly all rows are NULL.
    return and_(table.c.not_before <= AT, func.coalesce(table.c.lease_until, 0.0) <= AT)


def bury(connection: Connection, limit: DeathLimit, time: float) -> None:
    """Hold the work whose lease ran out in the hands of a worker, when so many workers have died of it."""
    connection.execute(_burial(limit), {"at": time})


@cache
def _burial(limit: DeathLimit) -> Update:
    held = {"state": State.HELD, "deaths": limit.table.c.deaths + 1, "reason": limit.reason}
    return update(limit.table).where(is_dead(limit)).values(**held, **NOBODYS, updated_at=AT)


def is_dead(limit: DeathLimit) -> ColumnElement[bool]:
    """Tell the rows for :func:`bury`; it looks for them at every claim, so an index has to find them."""
    row = limit.table.c
    return and_(row.state == limit.state, row.lease_until <= AT, row.deaths + 1 >= limit.deaths)


def lease(connection: Connection, work: _Claimed, owner: str, seconds: float, time: float) -> _Claimed:
    """Give a row to a worker. A row that still has an owner was left by one that died."""
    table = table_of(work)
    died = table.c.deaths + case((table.c.owner.is_not(None), 1), else_=0)
    claimed = {"owner": owner, "lease_until": time + seconds, "attempts": work.attempts + 1, "deaths": died}
    change(connection, table, _is_row_of(work), **claimed)
    return replace(work, owner=owner, attempts=work.attempts + 1)


def settle(connection: Connection, claim: Claim, **values: object) -> bool:
    """End a lease with a result, if the fence stands. Who comes too late is alive: the death counted for it goes."""
    is_settled = change(connection, table_of(claim), fence(claim), **values, **NOBODYS) == 1
    if not is_settled:
        _withdraw_death(connection, claim)
    return is_settled


def _withdraw_death(connection: Connection, claim: Claim) -> None:
    row = table_of(claim).c
    was_taken_over = and_(_is_row_of(claim), row.attempts > claim.attempts, row.deaths > 0)
    change(connection, table_of(claim), was_taken_over, deaths=row.deaths - 1)


def settle_whole(connection: Connection, entry_id: str) -> None:
    """Make an instance SENT when all of its deliveries are."""
    unsent = exists().where(delivery.c.instance_id == entry_id, delivery.c.state != State.SENT)
    is_whole = and_(instance.c.id == entry_id, instance.c.state == State.REDACTED, not_(unsent))
    change(connection, instance, is_whole, state=State.SENT)


def set_destinations(
    connection: Connection, entry: QueueEntry, destinations: AbstractSet[str], priority: Priority
) -> None:
    """Make exactly these deliveries due, beside those that are done."""
    entry_id = entry.id
    is_unsent = and_(delivery.c.instance_id == entry_id, delivery.c.state != State.SENT)
    connection.execute(delete(delivery).where(is_unsent, delivery.c.destination.not_in(destinations)))
    due = {
        "state": State.REDACTED,
        "not_before": select(instance.c.not_before).where(instance.c.id == entry_id).scalar_subquery(),
        "priority": int(priority),
    }
    received = {"study_instance_uid": entry.instance.study_instance_uid, "arrived_at": entry.origin.received_at}
    # Rows that stay keep their attempts: a late sender's fence must not fit again.
    anew = {**NOBODYS, **UNASKED, "failures": 0, "deaths": 0, "reason": None, "status": None}
    change(connection, delivery, is_unsent, **due, **anew)
    rows = connection.execute(select(delivery.c.destination).where(delivery.c.instance_id == entry_id))
    for name in sorted(destinations - set(rows.scalars())):
        new = {"instance_id": entry_id, "destination": name, "updated_at": now(connection), **received, **due}
        connection.execute(insert(delivery).values(**new))


def hold_waiting_deliveries(connection: Connection, entry_id: str) -> None:
    """Take the deliveries of an instance that is held out of the way of every claim; one in hand is settled there."""
    waits = and_(delivery.c.instance_id == entry_id, delivery.c.state == State.REDACTED, delivery.c.owner.is_(None))
    change(connection, delivery, waits, state=State.HELD)


def table_of(claim: Claim) -> Table:
    """Tell where a claim's row is."""
    return instance if isinstance(claim, QueueEntry) else delivery


def fence(claim: Claim) -> ColumnElement[bool]:
    """Tell the row of a claim, as long as it is this claim's."""
    table = table_of(claim)
    # An entry that nobody claimed has no owner, and "owner IS NULL" would let it pass.
    return and_(_is_row_of(claim), table.c.owner == (claim.owner or ""), table.c.attempts == claim.attempts)


def _is_row_of(claim: Claim) -> ColumnElement[bool]:
    if isinstance(claim, QueueEntry):
        return instance.c.id == claim.id
    return and_(delivery.c.instance_id == claim.entry_id, delivery.c.destination == claim.destination)
