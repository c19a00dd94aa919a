"""What one peer may take of the receiver."""

from __future__ import annotations

import socket
import tempfile
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from dicom_node.storage_scp_limits import Connections
from dicom_node.storage_scp_table import AssociationTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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


def limited(associations: int, of_a_peer: int) -> Connections:
    """Return the connections of a receiver that has no others beside it."""
    return Connections(associations, of_a_peer, AssociationTable(tempfile.TemporaryFile(), associations))  # noqa: SIM115


def is_open(theirs: socket.socket) -> bool:
    try:
        return theirs.recv(1) != b""
    except BlockingIOError:
        return True


def test_when_there_is_no_room_the_oldest_that_says_nothing_goes(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    connections = limited(2, 2)
    pairs = [connect() for _ in range(3)]
    assert all(connections.admit(ours, "192.0.2.1") for ours, _ in pairs)
    assert [is_open(theirs) for _, theirs in pairs] == [False, True, True]


def test_a_flood_of_one_peer_costs_no_other_its_connection(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
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
) -> None:
    connections = limited(1, 1)
    pairs = [connect() for _ in range(3)]
    for ours, _ in pairs:
        connections.admit(ours, "192.0.2.1")
        connections.associate(ours)
    assert [is_open(theirs) for _, theirs in pairs] == [True, False, True]


def test_those_that_have_not_gone_yet_count(connect: Callable[[], tuple[socket.socket, socket.socket]]) -> None:
    connections = limited(1, 1)
    pairs = [connect() for _ in range(4)]
    assert [connections.admit(ours, "192.0.2.1") for ours, _ in pairs] == [True, True, True, False]
    connections.forget(pairs[0][0])
    assert connections.admit(pairs[3][0], "192.0.2.1")


def test_a_peer_gets_its_share_of_associations_and_all_peers_no_more_than_there_are(
    connect: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    connections = limited(3, 2)
    given = []
    for peer in ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"):
        ours, _ = connect()
        connections.admit(ours, peer)
        given.append(connections.associate(ours))
    assert given == [True, True, False, True, False]
