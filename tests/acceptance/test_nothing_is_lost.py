"""What has had Success is not lost, whatever dies: `kill -9` of every process, one after the other and all at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dicom_node.queue import Ledger
from tests.support.arrivals import data_set_of
from tests.support.images import copies_of, pydicom_file, uid_of
from tests.support.modality import Modality
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.node import Node
    from tests.support.peers import StoreSCP


COUNT = 50


def test_fifty_instances_arrive_though_the_processes_of_each_role_are_killed_while_they_flow(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    images = copies_of(pydicom_file("MR_small.dcm"), tmp_path / "images", COUNT)
    modality = Modality(node.port, images)
    modality.start()
    for role, confirmed in (("receive", 10), ("redact", 20), ("send", 30)):
        modality.wait_for(confirmed)
        dead = node.roles(role)
        assert dead
        node.kill_role(role)
        wait_until(f"there is a new {role}", partial(_is_replaced, node, role, dead))
    modality.wait()
    node.wait_for(SENT=COUNT)
    assert set(pacs.files()) == set(map(uid_of, images))


def test_fifty_instances_arrive_though_all_of_the_node_is_killed_while_they_flow(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    images = copies_of(pydicom_file("MR_small.dcm"), tmp_path / "images", COUNT)
    modality = Modality(node.port, images)
    modality.start()
    modality.wait_for(COUNT // 2)
    node.kill()
    assert 0 < len(modality.confirmed) < COUNT
    node.start()
    modality.wait()
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


def _is_replaced(node: Node, role: str, dead: set[int]) -> bool:
    return bool(node.roles(role) - dead)
