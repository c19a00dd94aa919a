"""Digests are BLAKE3 where a text says so: a node that knows SHA-256 alone would hold what came, and is not started."""

from __future__ import annotations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Change nothing: the columns are the same."""
