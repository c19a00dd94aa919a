"""SIGKILL at every transition that has to last: one node lives through all of them, one after the other."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.arrivals import balance, data_set_of
from tests.support.burned_in import burned_in
from tests.support.fault_points import POINTS, Faults
from tests.support.images import uid_of
from tests.support.modality import Modality
from tests.support.node import Node
from tests.support.peers import StoreSCP
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


COUNT = 3
SENT_AGAIN = {"send: status before settle": 1}
"""Where the destination has an instance and the node cannot know it: only there may one arrive twice."""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSCP]:
    one = StoreSCP(tmp_path_factory.mktemp("pacs") / "pacs", "PACS")
    try:
        one.start()
        yield one
    finally:
        one.end()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, pacs: StoreSCP, faults: Faults) -> Iterator[Node]:
    everything = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}
    one = Node(tmp_path_factory.mktemp("node"), [everything], {"pacs": pacs.destination}, python_path=faults.folder)
    try:
        one.start()
        yield one
    finally:
        one.kill()


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_at(point: str, node: Node, pacs: StoreSCP, faults: Faults, tmp_path: Path) -> None:
    """Nothing is lost, nothing unclean arrives, a resend is byte for byte the first, the original was never altered."""
    images = [burned_in(tmp_path / f"{number}.dcm") for number in range(COUNT)]
    sent = set(map(uid_of, images))
    faults.arm(point)
    modality = Modality(node.port, images)
    modality.start()
    modality.wait()
    wait_until("a process dies there", lambda: not faults.is_armed)
    wait_until("all is delivered", lambda: states_of(node, sent) == ["SENT"] * COUNT, node.entries)
    arrived = {uid: paths for uid, paths in pacs.arrivals().items() if uid in sent}
    result = balance(modality.confirmed, [], arrived)
    assert (result.delivered, result.lost, result.unclean, result.unlike, result.held) == (COUNT, 0, 0, 0, 0)
    assert result.resends == SENT_AGAIN.get(point, 0)
    assert all(any(original.endswith(data_set_of(image)) for original in originals(node, faults)) for image in images)


def test_beside_what_was_sent_nothing_has_arrived(node: Node, pacs: StoreSCP) -> None:
    assert set(pacs.arrivals()) == {each.entry.instance.sop_instance_uid for each in node.entries()}


def states_of(node: Node, uids: set[str]) -> list[str]:
    return [each.state.value for each in node.entries() if each.entry.instance.sop_instance_uid in uids]


def originals(node: Node, faults: Faults) -> list[bytes]:
    """Return what stands in the spool, and what stood there, as it was when it was deleted."""
    standing = []
    for path in node.spooled():
        with suppress(FileNotFoundError):  # it is deleted by now, and was kept before
            standing.append(path.read_bytes())
    return standing + faults.originals()
