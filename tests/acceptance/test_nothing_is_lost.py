"""What has had Success is not lost, whatever dies: `kill -9` of every process, one after the other and all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom import dcmread

from dicom_node.queue import Ledger
from tests.support.images import copies_of, pydicom_file, uid_of
from tests.support.modality import Modality
from tests.support.peers import storescu
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.node import Node
    from tests.support.peers import StoreSCP

COUNT = 50


def test_fifty_instances_arrive_though_every_role_and_then_the_whole_node_is_killed_while_they_flow(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    images = copies_of(pydicom_file("MR_small.dcm"), tmp_path / "images", COUNT)
    modality = Modality(node.port, images)
    modality.start()
    for number, role in enumerate(("receive", "redact", "send"), 1):
        wait_until("some are in", lambda: len(modality.confirmed) >= 10 * number, lambda: modality.confirmed)  # noqa: B023
        dead = node.roles(role)
        assert dead
        node.kill_role(role)
        wait_until(f"{role} is there again", lambda: node.roles(role) - dead)  # noqa: B023 - waited for in this turn
    wait_until("some are in", lambda: len(modality.confirmed) >= 40, lambda: modality.confirmed)
    node.kill()
    node.start()
    modality.wait()
    assert sorted(modality.confirmed) == sorted(map(uid_of, images))
    node.wait_for(SENT=COUNT)
    assert set(pacs.files()) == set(map(uid_of, images))


def test_when_success_is_heard_the_row_and_the_bytes_as_sent_are_there_and_survive_the_death_of_the_node(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start("--role", "receive")
    images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", 5)
    ledger = Ledger(f"sqlite:///{node.data_dir / 'ledger.db'}")
    kept = {}

    def look(path: Path) -> None:
        (entry,) = [s.entry for s in ledger.entries() if s.entry.instance.sop_instance_uid == uid_of(path)]
        kept[path] = (node.data_dir / "spool" / "received" / f"{entry.id}.dcm").read_bytes()

    modality = Modality(node.port, images, look)
    modality.start()
    modality.wait()
    ledger.close()
    node.kill()
    assert len(kept) == len(images)
    for path, spooled in kept.items():
        assert spooled.endswith(data_set_of(path))
    assert sorted(path.read_bytes() for path in node.spooled() if path.suffix == ".dcm") == sorted(kept.values())
    node.start("--role", "redact,send")
    node.wait_for(SENT=len(images))
    assert set(pacs.files()) == set(map(uid_of, images))


def test_what_is_sent_leaves_nothing_of_itself_in_the_spool(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    storescu(node.port, *copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", 2))
    node.wait_for(SENT=2)
    wait_until("the spool is empty", lambda: not node.spooled(), node.spooled)


def data_set_of(path: Path) -> bytes:
    """Return the encoded data set of a file, without preamble and File Meta Information."""
    meta = dcmread(path, specific_tags=["SOPInstanceUID"]).file_meta
    return path.read_bytes()[144 + meta.FileMetaInformationGroupLength :]
