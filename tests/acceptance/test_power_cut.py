"""The power is cut: the disk has what was synced, and nothing else. ``scripts/benchmark chaos --cuts 25`` is longer."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from dicom_node.errors import RedactAgain
from tests.support.burned_in import burned_in, is_clean
from tests.support.chaos import Chaos, power_cut
from tests.support.disks import NotPermitted, PowerlessDisk
from tests.support.fault_points import Faults
from tests.support.images import uid_of
from tests.support.modality import Modality
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.node import Node
    from tests.support.peers import StoreSCP

INSTANCES, CUTS, SEED = 30, 4, 1
ARRIVALS = 5
MADE_AGAIN = str(RedactAgain())
"""What a sender says of a clean file that the disk has not kept: that is mended, and should never have to be."""

WORKER_DIED = "the worker process died twice"
RELIED_ON = ("received: row", "redact: settled", "send: settled", "send: original deleted")
"""From here on somebody takes for granted that bytes are on the disk, or the ledger does."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[PowerlessDisk]:
    one = PowerlessDisk(tmp_path)
    with ExitStack() as stack:
        try:
            stack.enter_context(one.mounted())
        except NotPermitted as why:
            pytest.skip(f"no block device can be mounted here: {why}")
        yield one


def test_what_had_success_outlives_cuts_at_random_moments(
    disk: PowerlessDisk, make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    destinations = {"pacs": pacs.destination, "out": {"folder": str(disk.path / "out")}}
    node = make_node(destinations, data_dir=disk.path / "data")
    node.start()
    chaos = Chaos(node, pacs, tmp_path / "images", INSTANCES, [power_cut(disk)] * CUTS, SEED)
    result = chaos.run()
    assert result.delivered + result.held == INSTANCES
    assert (result.lost, result.unclean, result.unlike, result.strangers) == (0, 0, 0, 0)
    assert {each.reason for each in node.entries() if each.state == "HELD"} <= {WORKER_DIED}
    assert stand_clean_in(disk.path / "out") >= sent_by(node)
    assert MADE_AGAIN not in node.logged


def test_what_the_ledger_says_is_on_the_disk_when_the_power_is_cut_right_then(
    disk: PowerlessDisk, make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """The ledger keeps its power: the spool's and the folder's own syncs are all that these have."""
    faults = Faults(tmp_path / "faults")
    node = make_node(
        {"out": {"folder": str(disk.path / "out")}},
        data_dir=disk.path / "data",
        ledger=f"sqlite:///{tmp_path / 'ledger.db'}",
        python_path=faults.folder,
    )
    node.start()
    for point in RELIED_ON:
        # One at a time: another that is just being read when the disk has gone would be held.
        image = burned_in(tmp_path / f"{point}.dcm")
        faults.arm(point, signal.SIGSTOP, disk.path)
        modality = Modality(node.port, [image])
        modality.start()
        wait_until("the power is cut", lambda: not faults.is_armed)
        node.kill()
        disk.restore()
        node.start()
        modality.wait()
        wait_until("all is sent", lambda: set(node.counts()) == {"SENT"}, node.entries)
        assert stand_clean_in(disk.path / "out") >= sent_by(node) >= {uid_of(image)}
    assert MADE_AGAIN not in node.logged


def test_what_had_success_is_there_although_its_row_was_not_on_the_disk(
    disk: PowerlessDisk, make_node: Callable[..., Node], tmp_path: Path
) -> None:
    """Nothing but arrivals is written to the ledger here, and those are not synced by themselves."""
    node = make_node({"out": {"folder": str(disk.path / "out")}}, data_dir=disk.path / "data")
    images = [burned_in(tmp_path / f"{number}.dcm") for number in range(ARRIVALS)]
    node.start("--role", "receive")
    modality = Modality(node.port, images)
    modality.start()
    modality.wait()
    assert len(node.entries()) == ARRIVALS
    disk.cut()
    node.kill()
    disk.restore()
    assert len(node.entries()) < ARRIVALS  # if not, this shows nothing
    node.start()
    wait_until("all is sent", lambda: node.counts() == {"SENT": ARRIVALS}, node.entries)
    assert stand_clean_in(disk.path / "out") == set(map(uid_of, images))


def stand_clean_in(folder: Path) -> set[str]:
    files = list(folder.rglob("*.dcm"))
    assert all(map(is_clean, files))
    return {path.stem for path in files}


def sent_by(node: Node) -> set[str]:
    return {each.entry.instance.sop_instance_uid for each in node.entries() if each.state == "SENT"}
