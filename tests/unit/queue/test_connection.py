"""A connection to PostgreSQL, on both of its ends, as long as the network may be silent."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import text

from dicom_node.model import Origin, QueueEntry, SOPInstance, State
from dicom_node.queue import Accepted, Ledger

if TYPE_CHECKING:
    from tests.support.postgresql import PostgreSQL


END_ALL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def setting(ledger: Ledger, name: str) -> str:
    with ledger._engine.connect() as connection:  # noqa: SLF001 - a session of the ledger's is what is looked at
        return str(connection.execute(text(f"SHOW {name}")).scalar_one())


def parameters(ledger: Ledger) -> dict[str, str]:
    with ledger._engine.connect() as connection:  # noqa: SLF001 - as above
        driver = connection.connection.driver_connection
        assert driver is not None
        return dict(driver.info.get_parameters())


def test_a_transaction_that_stands_still_ends_before_a_lease_does(postgresql: PostgreSQL) -> None:
    with closing(Ledger(postgresql.new_ledger())) as ledger:
        assert setting(ledger, "idle_in_transaction_session_timeout") == "10s"
        assert setting(ledger, "search_path").startswith("ledger")  # the URL has options of its own


def test_a_worker_that_is_cut_off_has_an_error_before_its_lease_ends(postgresql: PostgreSQL) -> None:
    with closing(Ledger(postgresql.new_ledger())) as ledger:
        told = parameters(ledger)
    assert (told["connect_timeout"], told["tcp_user_timeout"]) == ("10", "10000")


def test_what_the_url_says_comes_first(postgresql: PostgreSQL) -> None:
    url = f"{postgresql.url}?connect_timeout=3&options=-c%20idle_in_transaction_session_timeout%3D1min"
    with closing(Ledger(url)) as ledger:
        assert setting(ledger, "idle_in_transaction_session_timeout") == "1min"
        assert parameters(ledger)["connect_timeout"] == "3"


def test_an_instance_is_accepted_although_the_server_has_ended_the_connection_that_is_kept(
    postgresql: PostgreSQL,
) -> None:
    with closing(Ledger(postgresql.new_ledger())) as ledger:
        ledger.create()
        assert ledger.accept(arrived("1.2.3")) is Accepted.NEW
        with closing(Ledger(postgresql.url)) as other, other._engine.begin() as connection:  # noqa: SLF001 - as above
            connection.execute(text(END_ALL_OTHERS))
        assert ledger.accept(arrived("1.2.4")) is Accepted.NEW
        assert ledger.accept(arrived("1.2.5")) is Accepted.NEW
        assert len(ledger.entries()) == 3


def arrived(uid: str) -> QueueEntry:
    instance = SOPInstance("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
    origin = Origin("CT1", "NODE", "192.0.2.7", 1.0)
    return QueueEntry(uuid.uuid4().hex, instance, origin, State.RECEIVED, "aa", 512)
