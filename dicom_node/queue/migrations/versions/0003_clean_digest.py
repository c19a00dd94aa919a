"""The digest of the clean file, by which a sender sees that the disk has kept it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add it; NULL for what is clean already."""
    op.add_column("instance", Column("redacted_sha256", Text))
