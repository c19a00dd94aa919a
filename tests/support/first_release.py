"""A ledger of the first release, which did not write down a revision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SCRIPT = Path(__file__).with_name("first_release.sql")


def carry_out(connection: Connection, kind: str = "") -> None:
    """Carry out the statements of the script that begin so: CREATE, INSERT, or all."""
    text = "\n".join(line for line in _SCRIPT.read_text(encoding="utf-8").splitlines() if not line.startswith("--"))
    if connection.dialect.name == "sqlite":
        text = text.replace("DOUBLE PRECISION", "DOUBLE")
    for statement in text.split(";"):
        if statement.strip().startswith(kind):
            connection.exec_driver_sql(statement)
