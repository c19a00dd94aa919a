"""The tables of the first release."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Integer,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
)

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "destination",
        Column("name", Text, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("not_before", Double, nullable=False),
        Column("paused", Boolean, nullable=False),
        Column("reason", Text),
        PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "instance",
        Column("id", Text, nullable=False),
        *_required("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid"),
        *_required("transfer_syntax_uid", "calling_ae_title", "called_ae_title", "peer_address"),
        Column("received_at", Double, nullable=False),
        Column("sha256", Text, nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("fingerprint", Text),
        Column("conflict", Boolean, nullable=False),
        *_work_columns(),
        Column("policy", Text),
        Column("release_destinations", JSON, nullable=False),
        Column("redacted_file", Text),
        Column("redacted_size", BigInteger),
        Column("redacted_instance", JSON),
        PrimaryKeyConstraint("id"),
        UniqueConstraint("fingerprint"),
    )
    op.create_index("instance_claim", "instance", ["state", "not_before"])
    op.create_index("instance_lease", "instance", ["state", "lease_until"])
    op.create_index("instance_sop_instance_uid", "instance", ["sop_instance_uid"])
    op.create_table(
        "delivery",
        Column("instance_id", Text, nullable=False),
        Column("destination", Text, nullable=False),
        *_work_columns(),
        Column("failures", Integer, nullable=False),
        Column("status", Integer),
        PrimaryKeyConstraint("instance_id", "destination"),
        ForeignKeyConstraint(["instance_id"], ["instance.id"]),
    )
    op.create_index("delivery_claim", "delivery", ["destination", "state", "not_before"])
    op.create_index("delivery_lease", "delivery", ["state", "lease_until"])


def _required(*names: str) -> list[Column[Any]]:
    return [Column(name, Text, nullable=False) for name in names]


def _work_columns() -> list[Column[Any]]:
    return [
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("deaths", Integer, nullable=False),
        Column("owner", Text),
        Column("lease_until", Double),
        Column("not_before", Double, nullable=False),
        Column("reason", Text),
        Column("updated_at", Double, nullable=False),
    ]
