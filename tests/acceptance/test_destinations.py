"""Destinations that are down, and one that looks into what it is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from tests.support.images import copies_of, copy_of, pydicom_file, uid_of
from tests.support.orthanc import Orthanc
from tests.support.peers import storescu
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.node import Node
    from tests.support.peers import StoreSCP

FIVE = 5


def test_a_destination_that_is_down_delays_no_other_and_gets_everything_when_it_is_back(
    make_node: Callable[..., Node], make_pacs: Callable[..., StoreSCP], tmp_path: Path
) -> None:
    pacs, archive = make_pacs("PACS"), make_pacs("ARCHIVE")
    archive.start()
    node = make_node({"pacs": pacs.destination, "archive": archive.destination})
    node.start()
    images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", FIVE)
    storescu(node.port, *images)
    expected = set(map(uid_of, images))
    wait_until("the archive has everything", lambda: set(archive.files()) == expected, archive.files)
    assert node.counts() == {"REDACTED": FIVE}
    listed = node.command("queue", "list").stdout
    assert listed.count("REDACTED") == FIVE
    pacs.start()
    node.wait_for(SENT=FIVE)
    assert set(pacs.files()) == expected


def test_a_destination_that_ends_in_the_middle_gets_the_rest_when_it_is_back(
    make_node: Callable[..., Node], pacs: StoreSCP, tmp_path: Path
) -> None:
    node = make_node({"pacs": pacs.destination})
    node.start()
    images = copies_of(pydicom_file("MR_small.dcm"), tmp_path / "images", 2 * FIVE)
    storescu(node.port, *images)
    wait_until("it has some", lambda: len(pacs.files()) >= FIVE, pacs.files)
    pacs.end()
    pacs.start()
    node.wait_for(SENT=2 * FIVE)
    assert set(pacs.files()) == set(map(uid_of, images))


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    one = Orthanc(tmp_path / "orthanc")
    try:
        one.wait_until_it_listens()
        yield one
    finally:
        one.end()


def test_orthanc_has_every_instance_and_can_read_it(
    make_node: Callable[..., Node], orthanc: Orthanc, tmp_path: Path
) -> None:
    node = make_node({"orthanc": orthanc.destination})
    node.start()
    names = ("CT_small", "MR_small_implicit", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm", "examples_palette")
    images = [copy_of(pydicom_file(f"{name}.dcm"), tmp_path / f"{name}.dcm") for name in names]
    storescu(node.port, *images)
    node.wait_for(SENT=len(images))
    keys = json.loads(orthanc.get("/instances"))
    tags = {key: json.loads(orthanc.get(f"/instances/{key}/simplified-tags")) for key in keys}
    assert {tag["SOPInstanceUID"] for tag in tags.values()} == set(map(uid_of, images))
    for image in images:
        sent = dcmread(image)
        (key,) = [key for key in keys if tags[key]["SOPInstanceUID"] == sent.SOPInstanceUID]
        assert tags[key]["BurnedInAnnotation"] == "NO"
        assert (int(tags[key]["Rows"]), int(tags[key]["Columns"])) == (sent.Rows, sent.Columns)
        assert orthanc.get(f"/instances/{key}/preview").startswith(b"\x89PNG")
