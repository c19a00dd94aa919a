"""SIGKILL at random moments, and what else goes on meanwhile; `scripts/benchmark chaos` is the long version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import LOST_LEDGER, Chaos, outage, random_faults
from tests.support.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.node import Node
    from tests.support.peers import StoreSCP


INSTANCES, KILLS, SEED = 40, 6, 1


@pytest.fixture
def server() -> Iterator[PostgreSQL]:
    one = PostgreSQL()
    try:
        one.start()
        yield one
    finally:
        one.end()


def test_nothing_is_lost_and_nothing_unclean_arrives_though_processes_are_killed_and_the_ledger_is_lost(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination}, redactors=2)
    node.start()
    live_through(Chaos(node, pacs, tmp_path / "images", INSTANCES, random_faults(KILLS, SEED, [LOST_LEDGER]), SEED))


def test_nor_with_the_ledger_on_postgresql_though_it_crashes_as_well(
    make_node: Callable[..., Node], pacs: StoreSCP, server: PostgreSQL, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination}, ledger=server.url, redactors=2)
    node.start()
    faults = random_faults(KILLS, SEED, [LOST_LEDGER, outage(server)])
    live_through(Chaos(node, pacs, tmp_path / "images", INSTANCES, faults, SEED))


def live_through(chaos: Chaos) -> None:
    result = chaos.run()
    assert result.delivered + result.held == INSTANCES
    assert (result.lost, result.unclean, result.unlike, result.strangers) == (0, 0, 0, 0)
