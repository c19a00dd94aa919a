"""A connection to PostgreSQL, on both of its ends, as long as the network may be silent."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from sqlalchemy import text

from dicom_node.queue import Ledger

if TYPE_CHECKING:
    from tests.support.postgresql import PostgreSQL


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
