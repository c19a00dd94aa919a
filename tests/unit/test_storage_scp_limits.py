"""What one peer may take of the receiver."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from dicom_node.storage_scp_limits import Connections
from dicom_node.storage_scp_table import AssociationTable
from tests.support.processes import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def connect() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:

        def pair() -> tuple[socket.socket, socket.socket]:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            theirs.settimeout(0)
            return ours, theirs

        yield pair


@pytest.fixture
def limited() -> Iterator[Callable[[int, int], Connections]]:
    """Make the connections of a receiver; all that are made share their table."""
    with tempfile.TemporaryFile() as file:
        yield lambda associations, of_a_peer: Connections(associations, of_a_peer, AssociationTable(file, associations))


def is_open(theirs: socket.socket) -> bool:
    try:
        return theirs.recv(1) != b""
    except BlockingIOError:
        return True


def test_when_there_is_no_room_the_oldest_that_says_nothing_goes(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
    limited: Callable[[int, int], Connections],
) -> None:
    connections = limited(2, 2)
    pairs = [connect() for _ in range(3)]
    assert all(connections.admit(ours, "192.0.2.1") for ours, _ in pairs)
    assert [is_open(theirs) for _, theirs in pairs] == [False, True, True]


def test_a_flood_of_one_peer_costs_no_other_its_connection(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
    limited: Callable[[int, int], Connections],
) -> None:
    connections = limited(3, 3)
    patient, _ = pair = connect()
    connections.admit(patient, "192.0.2.2")
    for _ in range(20):
        ours, _ = connect()
        connections.admit(ours, "192.0.2.1")
    assert is_open(pair[1])
    assert connections.associate(patient)


def test_an_association_is_not_ended_for_a_connection(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
    limited: Callable[[int, int], Connections],
) -> None:
    connections = limited(1, 1)
    pairs = [connect() for _ in range(3)]
    for ours, _ in pairs:
        connections.admit(ours, "192.0.2.1")
        connections.associate(ours)
    assert [is_open(theirs) for _, theirs in pairs] == [True, False, True]


def test_those_that_have_not_gone_yet_count(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
    limited: Callable[[int, int], Connections],
) -> None:
    connections = limited(1, 1)
    pairs = [connect() for _ in range(4)]
    assert [connections.admit(ours, "192.0.2.1") for ours, _ in pairs] == [True, True, True, False]
    connections.forget(pairs[0][0])
    assert connections.admit(pairs[3][0], "192.0.2.1")


def test_a_peer_gets_its_share_of_associations_and_all_peers_no_more_than_there_are(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
    limited: Callable[[int, int], Connections],
) -> None:
    connections = limited(3, 2)
    given = []
    for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"):
        ours, _ = connect()
        connections.admit(ours, peer)
        given.append(connections.associate(ours))
    assert given == [True, True, False, True, False]


def test_receivers_share_their_limits_and_a_dead_one_gives_its_places_back(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
    limited: Callable[[int, int], Connections],
) -> None:
    here, there = limited(3, 2), limited(3, 2)
    pairs = [connect() for _ in range(4)]
    for connections, (ours, _) in zip((here, there, here, there), pairs, strict=True):
        connections.admit(ours, "192.0.2.1")
    assert [here.associate(pairs[0][0]), there.associate(pairs[1][0]), here.associate(pairs[2][0])] == [
        True,
        True,
        False,
    ]
    here.forget(pairs[0][0])
    assert there.associate(pairs[3][0])


def test_places_of_a_process_that_died_are_free_for_the_next(tmp_path: Path) -> None:
    with (tmp_path / "table").open("w+b") as file:
        code = f"""
from dicom_node.storage_scp_table import AssociationTable
assert AssociationTable(open({str(tmp_path / "table")!r}, "r+b"), 1).take("192.0.2.1", 1) is not None
"""
        subprocess.run([sys.executable, "-c", code], check=True, env=environment(tmp_path), timeout=60)
        assert any(file.read())
        assert AssociationTable(file, 1).take("192.0.2.2", 1) == 0
