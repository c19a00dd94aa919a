"""Sent means committed: Orthanc, which reports by itself, and a PACS that takes its time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commitment import CommittingPACS
from tests.support.images import copies_of, pydicom_file, uid_of
from tests.support.node import AE_TITLE
from tests.support.orthanc import Orthanc
from tests.support.peers import storescu
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.node import Node

COUNT = 3


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    one = Orthanc(tmp_path / "orthanc")
    try:
        one.wait_until_it_listens()
        yield one
    finally:
        one.end()


@pytest.fixture
def pacs() -> Iterator[CommittingPACS]:
    one = CommittingPACS()
    yield one
    one.end()


def originals(node: Node) -> list[Path]:
    return [path for path in node.spooled() if path.parent.name == "received" and path.suffix == ".dcm"]


def test_orthanc_commits_on_an_association_of_its_own_and_only_then_an_instance_is_sent(
    make_node: Callable[..., Node], orthanc: Orthanc, tmp_path: Path
) -> None:
    node = make_node({"orthanc": {**orthanc.destination, "storage_commitment": True}})
    node.start()
    images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", COUNT)
    storescu(node.port, *images)
    # It does not know the node yet, and aborts where it is asked: what is stored waits, and says why.
    node.wait_for(STORED=COUNT)
    said = "the request for storage commitment was not answered"
    # While it is asked again, which it is ever and again, there is no reason.
    wait_until("the list says why", lambda: node.command("queue", "list").stdout.count(said) == COUNT)
    assert len(originals(node)) == COUNT
    orthanc.knows("node", AE_TITLE, node.port)
    node.wait_for(SENT=COUNT)
    wait_until("nothing of it is left in the spool", lambda: not node.spooled(), node.spooled)
    keys = json.loads(orthanc.get("/instances"))
    assert len(keys) == COUNT


def test_orthanc_that_asks_the_node_for_its_commitment_is_refused(
    make_node: Callable[..., Node], orthanc: Orthanc
) -> None:
    node = make_node({"orthanc": {**orthanc.destination, "storage_commitment": True}})
    node.start("--role", "receive")
    orthanc.knows("node", AE_TITLE, node.port)
    asked = {"DicomInstances": [["1.2.840.10008.5.1.4.1.1.2", "1.2.3"]], "Synchronous": True}
    with pytest.raises(OSError, match="HTTP 500"):
        orthanc.post("/modalities/node/storage-commitment", asked)


def test_what_is_stored_and_not_committed_survives_the_death_of_the_node_and_is_not_sent_again(
    make_node: Callable[..., Node], pacs: CommittingPACS, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", COUNT)
    storescu(node.port, *images)
    node.wait_for(STORED=COUNT)
    wait_until("it is asked for", lambda: sum(len(uids) for _, uids in pacs.requests) == COUNT)
    listed = node.command("queue", "list", "--state", "STORED").stdout.splitlines()
    assert len(listed) == COUNT
    node.kill()
    assert len(originals(node)) == COUNT
    node.start()
    for number in range(len(pacs.requests)):
        assert pacs.report(node.port, number) == 0x0000
    node.wait_for(SENT=COUNT)
    assert sorted(pacs.stored) == sorted(map(uid_of, images))
    wait_until("nothing of it is left in the spool", lambda: not node.spooled(), node.spooled)
