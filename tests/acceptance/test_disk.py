"""A disk that is full, without inodes, read-only, failing or slow under a node with spool and ledger on it.

The disks are real (``tests/support/disks.py``), and so is what they do to each system call. Longer, with more of it::

    DICOM_NODE_LONG=1 python -m pytest tests/acceptance/test_disk.py
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.arrivals import balance
from tests.support.burned_in import burned_in
from tests.support.disks import FailingDisk, NotPermitted, full, read_only, slow, tmpfs, without_inodes
from tests.support.modality import Modality
from tests.support.node import Node
from tests.support.peers import StoreSCP
from tests.support.processes import wait_until
from tests.support.watch import parts_of
from tests.support.wire import ASSOCIATE_AC, Wire, associate_rq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

TIMES = 3 if os.environ.get("DICOM_NODE_LONG") else 1
LEASE_SECONDS = 1.0
FAULT_SECONDS = 1.5 * LEASE_SECONDS
"""Longer than a lease: what a worker has in hand when it begins is not its own any more when it ends."""

COUNT = 8
OUT_OF_RESOURCES = 0xA700
REFUSALS = 3
BESIDE, ELSEWHERE = "ledger beside the spool", "ledger elsewhere"
EVERYTHING = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}


class Place(NamedTuple):
    """A node, and the disk that it works on."""

    node: Node
    pacs: StoreSCP
    disk: Path
    failing: Callable[[], AbstractContextManager[None]] | None = None


def _place(stack: ExitStack, folder: Path, disk: Path, ledger: str = "") -> tuple[Node, StoreSCP]:
    pacs = StoreSCP(folder / "pacs", "PACS")
    stack.callback(pacs.end)
    pacs.start()
    destinations = {"pacs": pacs.destination}
    data_dir = disk / "data"
    node = Node(
        folder / "node", [EVERYTHING], destinations, data_dir=data_dir, ledger=ledger, lease_seconds=LEASE_SECONDS
    )
    stack.callback(node.kill)
    node.start()
    return node, pacs


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A node on a tmpfs of 96 MiB with 400 inodes."""
    folder = tmp_path_factory.mktemp("small")
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(tmpfs(folder / "disk", 96 << 20, inodes=400))
        except NotPermitted as why:
            pytest.skip(f"no file system can be mounted here: {why}")
        yield Place(*_place(stack, folder, disk), disk)


@pytest.fixture(scope="module", params=[BESIDE, ELSEWHERE])
def block(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Place]:
    """A node on a block device with ext4; its ledger beside the spool, or on another disk."""
    folder = tmp_path_factory.mktemp("block")
    ledger = f"sqlite:///{folder / 'ledger.db'}" if request.param == ELSEWHERE else ""
    failing_disk = FailingDisk(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(failing_disk.mounted())
        except NotPermitted as why:
            pytest.skip(f"no block device can be mounted here: {why}")
        yield Place(*_place(stack, folder, failing_disk.path, ledger), failing_disk.path, failing_disk.failing)


def test_a_full_disk_refuses_and_recovers(small: Place, tmp_path: Path) -> None:
    refuses_and_recovers(small, lambda: full(small.disk), tmp_path)


def test_a_disk_without_inodes_refuses_and_recovers(small: Place, tmp_path: Path) -> None:
    refuses_and_recovers(small, lambda: without_inodes(small.disk), tmp_path)


def test_a_read_only_disk_refuses_and_recovers(small: Place, tmp_path: Path) -> None:
    refuses_and_recovers(small, lambda: read_only(small.disk), tmp_path)


def test_a_disk_with_io_errors_from_fsync_refuses_and_recovers(block: Place, tmp_path: Path) -> None:
    assert block.failing is not None
    refuses_and_recovers(block, block.failing, tmp_path)


@pytest.mark.parametrize("block", [BESIDE], indirect=True)
def test_a_slow_disk_delays_and_loses_nothing(block: Place, tmp_path: Path) -> None:
    images = [burned_in(tmp_path / f"{number}.dcm") for number in range(COUNT * TIMES)]
    modality = Modality(block.node.port, images)
    with slow(block.disk):
        modality.start()
        modality.wait()
    all_arrives(block, modality)


def test_above_high_water_all_is_refused_until_the_node_has_sent_what_it_has(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    size = burned_in(tmp_path / "one.dcm").stat().st_size
    marks = {"high_water_bytes": 7 * size // 2, "low_water_bytes": size}
    node = make_node({"pacs": pacs.destination}, receive=marks)
    node.start("--role", "receive")
    taken = taken_until_refused(node, tmp_path / "first")
    assert len(taken) == 4
    assert node.logged.count("takes no instances") == 1
    assert node.stop() == 0
    node.start()
    modality = Modality(node.port, [burned_in(tmp_path / f"{number}.dcm") for number in range(COUNT)])
    modality.start()
    modality.wait()
    modality.confirmed += taken
    all_arrives(Place(node, pacs, tmp_path), modality)


def refuses_and_recovers(place: Place, fault: Callable[[], AbstractContextManager[None]], folder: Path) -> None:
    """Let a modality send while the fault comes and goes, and the node work without anyone's help."""
    images = [burned_in(folder / f"{number}.dcm") for number in range(COUNT * TIMES)]
    receiver = place.node.roles("receive")
    modality = Modality(place.node.port, images)
    modality.start()
    for number in range(TIMES):
        modality.wait_for(COUNT * number + COUNT // 2)
        with fault():
            modality.confirmed += taken_until_refused(place.node, folder / f"refused-{number}")
            time.sleep(FAULT_SECONDS)
    modality.wait()
    all_arrives(place, modality)
    assert place.node.roles("receive") == receiver


def taken_until_refused(node: Node, folder: Path) -> list[str]:
    """Send on one association until three were refused, and return what was taken: what is deleted makes some room."""
    statuses: dict[str, int | None] = {}
    folder.mkdir()
    sop_class, syntax, *_ = parts_of(burned_in(folder / "first.dcm"))
    with Wire(node.port) as wire:
        assert wire.associate(associate_rq(sop_class, [syntax])) == ASSOCIATE_AC
        while list(statuses.values()).count(OUT_OF_RESOURCES) < REFUSALS:
            _, _, uid, data_set = parts_of(burned_in(folder / f"{len(statuses)}.dcm"))
            statuses[uid] = wire.store(sop_class, uid, data_set)
            assert statuses[uid] in {0x0000, OUT_OF_RESOURCES}
            assert wire.echo() == 0x0000
    incoming = node.data_dir / "spool" / "incoming"
    wait_until("no file stays of what was refused", lambda: not list(incoming.iterdir()))
    return [uid for uid, status in statuses.items() if status == 0x0000]


def all_arrives(place: Place, modality: Modality) -> None:
    """Nothing is lost or held, what arrived is clean, and ledger and spool agree."""
    node, pacs, *_ = place
    sent = set(modality.confirmed)
    wait_until("all is delivered", lambda: states_of(node, sent) == ["SENT"] * len(sent), node.entries)
    result = balance(modality.confirmed, [], {uid: paths for uid, paths in pacs.arrivals().items() if uid in sent})
    assert (result.delivered, result.lost, result.unclean, result.unlike) == (len(sent), 0, 0, 0)
    assert set(node.counts()) == {"SENT"}
    # A name that was deleted can come back with a block that the disk did not write: it goes at the next look.
    wait_until("the spool is empty", lambda: is_empty_after_a_look(node), node.spooled)


def is_empty_after_a_look(node: Node) -> bool:
    node.reconcile()
    return not node.spooled()


def states_of(node: Node, uids: set[str]) -> list[str]:
    return [each.state.value for each in node.entries() if each.entry.instance.sop_instance_uid in uids]
