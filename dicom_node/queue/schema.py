"""The tables of the ledger, and their rows as core values.

An instance has one row, each delivery of it another. Both are worked on in the same way, by the same columns: ``owner``
and ``lease_until`` say whose the row is and until when (NULL: nobody's), ``attempts`` counts the claims, ``deaths``
those that ended because the worker did. ``not_before`` starts as the time of receipt, so that the order in which rows
become due is the order in which instances came, and one index serves the claim; another finds leases that ran out.
A delivery has the study and the time of receipt of its instance as well, for destinations that keep the order within a
study: what is before a delivery is found by an index. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    select,
    text,
)

from dicom_node.model import Delivery, Origin, Priority, QueueEntry, SOPInstance, State, values_of

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

FINAL = (State.SENT, State.DROPPED)
"""An instance in one of these never changes again."""

NOBODYS: dict[str, Any] = {"owner": None, "lease_until": None}
"""The lease columns of a row that nobody works on."""

UNASKED: dict[str, Any] = {"transaction_uid": None, "requests": 0}
"""The commitment columns of a delivery that starts anew: a report on an earlier request says nothing of it."""

metadata = MetaData()


def _work_columns() -> list[Column[Any]]:
    return [
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False, default=0),
        Column("deaths", Integer, nullable=False, default=0),
        Column("owner", Text),
        Column("lease_until", Double),
        Column("not_before", Double, nullable=False),
        Column("priority", Integer, nullable=False, default=int(Priority.MEDIUM), server_default="0"),
        Column("reason", Text),
        Column("updated_at", Double, nullable=False),
    ]


instance = Table(
    "instance",
    metadata,
    Column("id", Text, primary_key=True),
    *(Column(uid.name, Text, nullable=False) for uid in fields(SOPInstance)),
    Column("calling_ae_title", Text, nullable=False),
    Column("called_ae_title", Text, nullable=False),
    Column("peer_address", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    # These digests were SHA-256 alone when their columns got a name, and a revision only adds.
    Column("sha256", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    # NULL where a resend is to be processed again: several NULLs are not equal to each other.
    Column("fingerprint", Text, unique=True),
    Column("conflict", Boolean, nullable=False, default=False),
    *_work_columns(),
    Column("policy", Text),
    Column("release_destinations", JSON, nullable=False),
    Column("redacted_file", Text),
    Column("redacted_size", BigInteger),
    Column("redacted_sha256", Text),
    Column("redacted_instance", JSON),
    Index("instance_due", "state", "priority", "not_before"),
    Index("instance_lease", "state", "lease_until"),
    Index("instance_sop_instance_uid", "sop_instance_uid"),
    Index("instance_study", "study_instance_uid", "state", "received_at"),
)
# What retention looks for; partial, so that rows that are worked on do not pay for it.
Index(
    "instance_done",
    instance.c.updated_at,
    sqlite_where=instance.c.state.in_(FINAL),
    postgresql_where=instance.c.state.in_(FINAL),
)

delivery = Table(
    "delivery",
    metadata,
    Column("instance_id", Text, ForeignKey("instance.id"), primary_key=True),
    Column("destination", Text, primary_key=True),
    *_work_columns(),
    Column("failures", Integer, nullable=False, default=0),
    Column("status", Integer),
    # Of the last request for storage commitment, and how many there were since the delivery was begun or tried anew.
    Column("transaction_uid", Text),
    Column("requests", Integer, nullable=False, default=0, server_default="0"),
    Column("study_instance_uid", Text, nullable=False, default="", server_default=text("''")),
    Column("arrived_at", Double, nullable=False, default=0.0, server_default="0"),
    Index("delivery_due", "destination", "state", "priority", "not_before"),
    Index("delivery_lease", "state", "lease_until"),
    Index("delivery_study", "destination", "study_instance_uid", "state", "arrived_at"),
    Index("delivery_transaction", "transaction_uid"),
)

destination = Table(
    "destination",
    metadata,
    Column("name", Text, primary_key=True),
    Column("failures", Integer, nullable=False, default=0),
    Column("not_before", Double, nullable=False, default=0.0),
    Column("paused", Boolean, nullable=False, default=False),
    Column("reason", Text),
)


def entry_of(row: RowMapping) -> QueueEntry:
    """Read a row of ``instance``."""
    return QueueEntry(
        id=row["id"],
        instance=SOPInstance(**{uid.name: row[uid.name] for uid in fields(SOPInstance)}),
        origin=_origin_of(row),
        state=State(row["state"]),
        digest=row["sha256"],
        size=row["size"],
        attempts=row["attempts"],
        owner=row["owner"],
        reason=row["reason"],
        policy=row["policy"],
        destinations=tuple(row["release_destinations"]),
        redacted_file=row["redacted_file"],
        conflict=row["conflict"],
        priority=Priority(row["priority"]),
    )


def row_of(entry: QueueEntry) -> dict[str, Any]:
    """Give the columns of ``instance`` that say what arrived."""
    arrived = {"id": entry.id, "sha256": entry.digest, "size": entry.size, "release_destinations": []}
    return {**arrived, **values_of(entry.instance), **values_of(entry.origin), "priority": int(entry.priority)}


def deliveries() -> Select[Any]:
    """Select what :func:`delivery_of` reads: deliveries with the instance that they are of."""
    of_the_instance = ("calling_ae_title", "called_ae_title", "peer_address", "received_at")
    clean = ("redacted_file", "redacted_size", "redacted_sha256", "redacted_instance")
    return select(delivery, *(instance.c[name] for name in of_the_instance + clean)).join_from(delivery, instance)


def delivery_of(row: RowMapping) -> Delivery:
    """Read a row of :func:`deliveries`."""
    return Delivery(
        entry_id=row["instance_id"],
        destination=row["destination"],
        instance=SOPInstance(**row["redacted_instance"]),
        origin=_origin_of(row),
        state=State(row["state"]),
        redacted_file=row["redacted_file"],
        size=row["redacted_size"],
        attempts=row["attempts"],
        owner=row["owner"],
        failures=row["failures"],
        not_before=row["not_before"],
        reason=row["reason"],
        status=row["status"],
        priority=Priority(row["priority"]),
        study_instance_uid=row["study_instance_uid"],
        redacted_digest=row["redacted_sha256"],
    )


def _origin_of(row: RowMapping) -> Origin:
    return Origin(**{field.name: row[field.name] for field in fields(Origin)})
