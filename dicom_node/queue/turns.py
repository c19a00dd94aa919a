"""Whose turn it is: priorities, and the order within a study for destinations that keep it.

A priority is a lead in time and not a class before another: HIGH counts as received a day earlier than MEDIUM, LOW as a
day later. So what is urgent goes before a day's backlog, and nothing waits for ever behind others that keep coming.

Where the order within a study is kept, deliveries are claimed in runs: the next ones of one study, in order of receipt,
up to the first that is in somebody's hands, waits after a failure, or is not redacted yet. What is held is for an
operator, and holds back nobody.
"""

from __future__ import annotations

from functools import cache, partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, exists, func, not_, select

from dicom_node.model import Priority, State
from dicom_node.queue.schema import deliveries, delivery, instance
from dicom_node.queue.transitions import is_due_at, is_free

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicom_node.model import Delivery

_DAY = 86400.0
LEAD = {Priority.HIGH: _DAY, Priority.MEDIUM: 0.0, Priority.LOW: -_DAY}
"""Seconds by which each priority is ahead of what was received at the same time."""

STAYS = 600.0
"""A study is gone on with unless another has been waiting for so many seconds longer: else it could go on for ever."""


def first(connection: Connection, due: Callable[[Priority], Select[Any]], time: float, limit: int) -> list[RowMapping]:
    """Return the rows whose turn it is: one query a priority, so that an index serves each."""
    rows = [row for priority in LEAD for row in connection.execute(due(priority), {"at": time}).mappings()]
    return sorted(rows, key=_turn)[:limit]


def _turn(row: RowMapping) -> float:
    return float(row["not_before"]) - LEAD[Priority(row["priority"])]


def run(connection: Connection, destination: str, time: float, limit: int, last_study: str) -> list[RowMapping]:
    """Return the next deliveries of the study whose turn it is at a destination that keeps the order.

    Nobody else may be claiming there: among rows that two are claiming at once, neither knows what is first.

    Parameters
    ----------
    last_study : str
        The one that was sent last; it is gone on with if that is fair.
    """
    head = first(connection, partial(heads, destination), time, 1)
    if not head:
        return []
    same = _of_study(connection, destination, last_study, time, limit) if last_study else []
    if same and _turn(same[0]) <= _turn(head[0]) + STAYS:
        return same
    return _of_study(connection, destination, head[0]["study_instance_uid"], time, limit)


@cache
def heads(destination: str, priority: Priority) -> Select[Any]:
    """Select the first delivery of a priority that no other of its study has to go before."""
    may_go = and_(is_due_at(destination), delivery.c.priority == int(priority), not_(_is_held_back()))
    return deliveries().where(may_go).order_by(delivery.c.not_before).limit(1)


def _is_held_back() -> ColumnElement[bool]:
    """Tell the deliveries before which another of their study has to go, and cannot now."""
    earlier, unredacted = delivery.alias("earlier"), instance.alias("unredacted")
    waits = exists().where(
        earlier.c.destination == delivery.c.destination,
        earlier.c.study_instance_uid == delivery.c.study_instance_uid,
        earlier.c.state == State.REDACTED,
        earlier.c.arrived_at < delivery.c.arrived_at,
        not_(is_free(earlier)),
    )
    comes = exists().where(
        unredacted.c.study_instance_uid == delivery.c.study_instance_uid,
        unredacted.c.state == State.RECEIVED,
        unredacted.c.received_at < delivery.c.arrived_at,
    )
    return waits | comes


def is_behind(one: Delivery, until: float) -> ColumnElement[bool]:
    """Tell what comes after a delivery in its study, at its destination, and would be due before ``until``."""
    return and_(
        delivery.c.destination == one.destination,
        delivery.c.study_instance_uid == one.study_instance_uid,
        delivery.c.state == State.REDACTED,
        delivery.c.arrived_at > one.origin.received_at,
        delivery.c.not_before < until,
    )


def _of_study(
    connection: Connection, destination: str, study_instance_uid: str, time: float, limit: int
) -> list[RowMapping]:
    """Return the next deliveries of a study, in order, up to the first that cannot go now; they are locked."""
    # Before the others: an instance that is redacted meanwhile is then looked at twice, and not never.
    unredacted = select(func.min(instance.c.received_at)).where(
        instance.c.study_instance_uid == study_instance_uid, instance.c.state == State.RECEIVED
    )
    end = connection.execute(unredacted).scalar()
    waiting = (
        select(delivery.c.instance_id, delivery.c.arrived_at, is_free(delivery).label("is_free"))
        .join_from(delivery, instance)
        .where(
            delivery.c.destination == destination,
            delivery.c.study_instance_uid == study_instance_uid,
            delivery.c.state == State.REDACTED,
            instance.c.state == State.REDACTED,
        )
        .order_by(delivery.c.arrived_at, delivery.c.instance_id)
        .limit(limit)
    )
    line = connection.execute(waiting, {"at": time}).all()
    can_go = takewhile(lambda row: row.is_free and (end is None or row.arrived_at <= end), line)
    return _locked(connection, destination, [row.instance_id for row in can_go], time)


def _locked(connection: Connection, destination: str, entry_ids: list[str], time: float) -> list[RowMapping]:
    """Lock these deliveries, up to the first that an operator has taken out meanwhile."""
    chosen = deliveries().where(is_due_at(destination), delivery.c.instance_id.in_(entry_ids))
    ordered = chosen.order_by(delivery.c.arrived_at, delivery.c.instance_id).with_for_update(of=delivery)
    found = zip(connection.execute(ordered, {"at": time}).mappings(), entry_ids, strict=False)
    return [row for row, _ in takewhile(lambda pair: pair[0]["instance_id"] == pair[1], found)]
