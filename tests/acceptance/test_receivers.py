"""Several receivers on one port: they share the work and the limits, and one that dies takes nothing with it."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.arrivals import data_set_of
from tests.support.images import copies_of, pydicom_file, uid_of
from tests.support.modality import Modality
from tests.support.node import Node
from tests.support.processes import is_listening, wait_until
from tests.support.wire import ASSOCIATE_AC, ASSOCIATE_RJ, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

PROCESSES = 3
OF_A_PEER = 7


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    everything = {"name": "all", "policy": "all-text", "destinations": ["clean"]}
    receive = {"processes": PROCESSES, "maximum_associations_per_peer": OF_A_PEER}
    one = Node(tmp_path / "node", [everything], {"clean": {"folder": "out"}}, receive=receive)
    try:
        one.start("--role", "receive")
        wait_until("all receivers listen", lambda: one.logged.count('"listening"') == PROCESSES)
        yield one
    finally:
        one.kill()


def connections(pid: int) -> int:
    """Count the sockets of a process: what it listens on, the supervisor's, and those of its peers."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has closed it since
            count += str(link.readlink()).startswith("socket:")
    return count


def test_a_receiver_that_is_killed_while_all_receive_loses_nothing_and_is_replaced(node: Node, tmp_path: Path) -> None:
    sent = [copies_of(pydicom_file("CT_small.dcm"), tmp_path / str(number), 12) for number in range(4)]
    modalities = [Modality(node.port, paths) for paths in sent]
    before = node.roles("receive")
    for modality in modalities:
        modality.start()
    for modality in modalities:
        modality.wait_for(2)
    dead = max(before, key=connections)
    os.kill(dead, signal.SIGKILL)
    for modality in modalities:
        modality.wait()
    wait_until("there is a new one", lambda: len(node.roles("receive") - {dead}) == PROCESSES)
    assert before - {dead} < node.roles("receive")
    stored = {entry.entry.instance.sop_instance_uid: entry.entry.id for entry in node.entries()}
    assert set(stored) == {uid_of(path) for paths in sent for path in paths}
    for path in (path for paths in sent for path in paths):
        original = node.data_dir / "spool" / "received" / f"{stored[uid_of(path)]}.dcm"
        assert data_set_of(original) == data_set_of(path)


def test_the_limit_of_a_peer_is_that_of_all_receivers_and_a_dead_one_gives_its_share_back(node: Node) -> None:
    with ExitStack() as stack:

        def answers(count: int) -> list[int]:
            return [stack.enter_context(Wire(node.port)).associate() for _ in range(count)]

        idle = {pid: connections(pid) for pid in node.roles("receive")}
        assert answers(OF_A_PEER + 2) == [ASSOCIATE_AC] * OF_A_PEER + [ASSOCIATE_RJ] * 2
        taken = {pid: connections(pid) - idle[pid] for pid in idle}
        assert sum(count > 0 for count in taken.values()) > 1, "one receiver has them all"
        dead = max(taken, key=lambda pid: taken[pid])
        os.kill(dead, signal.SIGKILL)
        wait_until("its share is free", lambda: answers(1) == [ASSOCIATE_AC])


def test_a_drain_ends_all_receivers_and_leaves_no_one_waiting(node: Node) -> None:
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        assert wire.echo() == 0x0000
        node.terminate()
        wait_until("nobody listens", lambda: not is_listening(node.port))
        assert wire.echo() == 0x0000
    assert node.wait() == 0
    assert not node.roles("receive")
