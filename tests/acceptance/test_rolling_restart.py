"""Two nodes are restarted one after the other, while a modality sends: as at an update."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from dicom_node.queue.schema import delivery, instance
from tests.support.arrivals import balance
from tests.support.burned_in import burned_in
from tests.support.ledgers import engine_on
from tests.support.modality import Modality
from tests.support.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.peers import StoreSCP
    from tests.support.postgresql import PostgreSQL

COUNT = 60
OF_AN_ASSOCIATION = 4
PAUSE = 1.0
"""Seconds between two instances as long as nodes are being restarted: there have to be some left for the last one."""


@pytest.fixture
def ledger(postgresql: PostgreSQL) -> str:
    return postgresql.new_ledger()


@pytest.fixture
def make_nodes(tmp_path: Path, ledger: str, pacs: StoreSCP) -> Iterator[Callable[..., list[Node]]]:
    made: list[Node] = []

    def make(drain_seconds: float) -> list[Node]:
        everything = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}
        for name in ("a", "b"):
            node = Node(
                tmp_path / name,
                [everything],
                {"pacs": pacs.destination},
                ledger=ledger,
                data_dir=tmp_path / "shared",
                lease_seconds=20.0,
                queue={"drain_seconds": drain_seconds},
            )
            made.append(node)
            node.start()
        return made

    yield make
    for node in made:
        node.kill()


def deaths(ledger: str) -> int:
    """Count the workers that the ledger takes for dead."""
    engine = engine_on(ledger)
    counted = [select(func.coalesce(func.sum(table.c.deaths), 0)) for table in (instance, delivery)]
    with engine.begin() as connection:
        count = sum(int(connection.execute(each).scalar_one()) for each in counted)
    engine.dispose()
    return count


def restart_each(nodes: list[Node], modality: Modality, done: threading.Event) -> None:
    for node in nodes:
        modality.wait_for(len(modality.confirmed) + OF_AN_ASSOCIATION)
        assert node.stop() == 0
        assert not node.roles()
        assert "ready" in node.start()
    assert modality.is_alive(), "it has sent all the time"
    done.set()


def test_while_two_nodes_are_restarted_one_after_the_other_no_store_goes_without_success_and_nobody_counts_as_dead(
    make_nodes: Callable[..., list[Node]], pacs: StoreSCP, ledger: str, tmp_path: Path
) -> None:
    nodes = make_nodes(drain_seconds=30.0)
    images = [burned_in(tmp_path / "images" / f"{number}.dcm") for number in range(COUNT)]
    first, second = (node.port for node in nodes)
    done = threading.Event()
    modality = Modality(first, images, lambda _: done.wait(PAUSE), others=[second], of_an_association=OF_AN_ASSOCIATION)
    modality.start()
    restart_each(nodes, modality, done)
    modality.wait()
    assert modality.resent == 0
    nodes[0].wait_for(SENT=COUNT)
    result = balance(modality.confirmed, [], pacs.arrivals())
    assert (result.delivered, result.held, result.lost, result.unclean, result.resends) == (COUNT, 0, 0, 0, 0)
    assert deaths(ledger) == 0
    assert all("role process killed" not in node.logged for node in nodes)


def test_an_association_that_outlasts_the_drain_is_aborted_and_what_had_success_before_is_delivered_all_the_same(
    make_nodes: Callable[..., list[Node]], pacs: StoreSCP, ledger: str, tmp_path: Path
) -> None:
    nodes = make_nodes(drain_seconds=0.2)
    images = [burned_in(tmp_path / "images" / f"{number}.dcm") for number in range(COUNT)]
    first, second = (node.port for node in nodes)
    done = threading.Event()
    modality = Modality(first, images, lambda _: done.wait(PAUSE), others=[second])  # over one association, if it could
    modality.start()
    restart_each(nodes, modality, done)
    modality.wait()
    assert modality.resent <= len(nodes)
    nodes[0].wait_for(SENT=COUNT)
    result = balance(modality.confirmed, [], pacs.arrivals())
    assert (result.delivered, result.held, result.lost, result.unclean, result.resends) == (COUNT, 0, 0, 0, 0)
    assert deaths(ledger) == 0
