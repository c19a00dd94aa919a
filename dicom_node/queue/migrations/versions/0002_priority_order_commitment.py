"""Priorities, the order within a study, storage commitment, and what retention looks for."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, Integer, Text, text

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them; deliveries that wait get what the order within a study is kept by."""
    for table in ("instance", "delivery"):
        op.add_column(table, Column("priority", Integer, nullable=False, server_default="0"))
    op.add_column("delivery", Column("transaction_uid", Text))
    op.add_column("delivery", Column("requests", Integer, nullable=False, server_default="0"))
    op.add_column("delivery", Column("study_instance_uid", Text, nullable=False, server_default=text("''")))
    op.add_column("delivery", Column("arrived_at", Double, nullable=False, server_default="0"))
    op.execute(
        "UPDATE delivery SET"
        " study_instance_uid = (SELECT study_instance_uid FROM instance WHERE instance.id = delivery.instance_id),"
        " arrived_at = (SELECT received_at FROM instance WHERE instance.id = delivery.instance_id)"
    )
    # What waits of an instance that is held is held with it, out of the way of claims.
    op.execute(
        "UPDATE delivery SET state = 'HELD' WHERE state = 'REDACTED'"
        " AND instance_id IN (SELECT id FROM instance WHERE state = 'HELD')"
    )
    op.create_index("instance_due", "instance", ["state", "priority", "not_before"])
    op.create_index("instance_study", "instance", ["study_instance_uid", "state", "received_at"])
    done = text("state IN ('SENT', 'DROPPED')")
    op.create_index("instance_done", "instance", ["updated_at"], sqlite_where=done, postgresql_where=done)
    op.create_index("delivery_due", "delivery", ["destination", "state", "priority", "not_before"])
    op.create_index("delivery_study", "delivery", ["destination", "study_instance_uid", "state", "arrived_at"])
    op.create_index("delivery_transaction", "delivery", ["transaction_uid"])
    op.drop_index("instance_claim", "instance")
    op.drop_index("delivery_claim", "delivery")
