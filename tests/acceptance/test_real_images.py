"""Real images of vendors, from dcmtk's storescu through the node to dcmtk's storescp."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.redaction import PaddleDetector, Policy, redact
from tests.support.images import copy_of, frames_of, pydicom_file, uid_of, ultrasound
from tests.support.node import Node
from tests.support.peers import StoreSCP, storescu
from tests.support.processes import wait_until
from tests.support.vendor_text import TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from dicom_node.redaction import TextDetector

FILL = 0
"""Displayed black, in all of these images: RGB, and MONOCHROME2 in which 0 occurs."""

FRAMES = {"GREYSCALE_IMAGE": 1, "GREYSCALE_CINE": 27, "RGB_IMAGE": 1, "RGB_CINE": 51, "ultrasound-multiframe": 30}
"""The banner of the last one was blanked by those who published it: what is left on it is the machine's text."""

FIRST_FRAMES = 6

WITH_TEXT = (
    *("GREYSCALE_IMAGE", "GREYSCALE_CINE", "RGB_IMAGE"),
    *("OBXXXX1A_rle", "examples_jpeg2k", "JPGLosslessP14SV1_1s_1f_8b"),
)
WITHOUT_TEXT = (
    *("CT_small", "MR_small_implicit", "MR_small_bigendian", "ExplVR_BigEnd"),
    *("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm"),
    *("693_J2KI", "SC_rgb_jpeg_dcmtk", "SC_ybr_full_422_uncompressed", "emri_small_RLE"),
)


@dataclass(frozen=True)
class Hospital:
    """A node that cleans everything, and the PACS that it sends to."""

    node: Node
    pacs: StoreSCP

    def carry(self, image: Path) -> Path:
        """Send an image through the node, and return the file that has arrived."""
        storescu(self.node.port, image)
        uid = uid_of(image)
        entry = next(each.entry.id for each in self.node.entries() if each.entry.instance.sop_instance_uid == uid)
        wait_until("it is sent or held", lambda: self.node.state(entry) in {"SENT", "HELD"})
        assert self.node.state(entry) == "SENT", self.node.command("queue", "show", entry).stdout
        return self.pacs.files()[uid]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with make_hospital(tmp_path_factory.mktemp("hospital"), "thorough") as one:
        yield one


@pytest.fixture(scope="module")
def quick_hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """For whole loops, which take minutes with ``thorough``: ``test_vendor_text`` looks at each of them so."""
    with make_hospital(tmp_path_factory.mktemp("quick hospital"), "fast") as one:
        yield one


@contextmanager
def make_hospital(folder: Path, profile: str) -> Iterator[Hospital]:
    pacs = StoreSCP(folder / "pacs")
    route = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}
    node = Node(folder / "node", [route], {"pacs": pacs.destination}, profile=profile)
    try:
        pacs.start()
        node.start()
        yield Hospital(node, pacs)
        assert node.stop() == 0
    finally:
        node.kill()
        pacs.end()


@pytest.fixture(scope="module")
def detector() -> TextDetector:
    return PaddleDetector()


@pytest.mark.parametrize("name", FRAMES)
def test_what_a_person_reads_in_the_banner_is_the_fill_in_every_frame_and_other_pixels_are_as_sent(
    quick_hospital: Hospital, tmp_path: Path, name: str
) -> None:
    sent = ultrasound(name, tmp_path)
    arrived = quick_hospital.carry(sent)
    frames = 0
    for before, after in zip(frames_of(sent), frames_of(arrived), strict=True):
        for text in TEXTS[name]:
            if text.is_identity:
                assert np.unique(before[text.place]).size > 1
                assert (after[text.place] == FILL).all()
        changed = changed_pixels(before, after)
        assert (after[changed] == FILL).all()
        assert 0 < changed.mean() < 0.25
        frames += 1
    assert frames == FRAMES[name]


@pytest.mark.parametrize("name", WITH_TEXT)
def test_every_pixel_in_the_regions_found_is_the_fill_and_every_pixel_outside_of_them_is_as_sent(
    hospital: Hospital, detector: TextDetector, tmp_path: Path, name: str
) -> None:
    source = ultrasound(name, tmp_path) if name in FRAMES else pydicom_file(f"{name}.dcm")
    sent = copy_of(source, tmp_path / "sent.dcm", **first_frames(source))
    arrived = hospital.carry(sent)
    assert dcmread(arrived).file_meta.TransferSyntaxUID == dcmread(sent).file_meta.TransferSyntaxUID
    regions = redact(dcmread(sent), Policy("all-text"), detector).regions
    assert regions
    for index, (before, after) in enumerate(zip(frames_of(sent), frames_of(arrived), strict=True)):
        expected = before.copy()
        for region in (each for each in regions if each.first_frame <= index <= each.last_frame):
            rows = slice(region.row, region.row + region.height)
            expected[rows, region.column : region.column + region.width] = FILL
        assert np.array_equal(after, expected)


@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_an_image_without_text_arrives_with_its_pixel_data_byte_for_byte(
    hospital: Hospital, tmp_path: Path, name: str
) -> None:
    # Several of pydicom's files are one instance in several transfer syntaxes: each becomes one of its own.
    image = copy_of(pydicom_file(f"{name}.dcm"), tmp_path / "sent.dcm")
    arrived, sent = dcmread(hospital.carry(image)), dcmread(image)
    assert arrived.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert arrived.PixelData == sent.PixelData
    assert arrived.BurnedInAnnotation == "NO"


def first_frames(source: Path) -> dict[str, object]:
    """Return the attributes of a loop's begin; the whole of it is in the test above, and takes a minute."""
    dataset = dcmread(source)
    frames = int(dataset.get("NumberOfFrames", 1))
    if frames <= FIRST_FRAMES:
        return {}
    begin = dataset.PixelData[: len(dataset.PixelData) // frames * FIRST_FRAMES]
    return {"NumberOfFrames": FIRST_FRAMES, "PixelData": begin}


def changed_pixels(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two frames differ, in any sample: shape (rows, columns)."""
    different = np.asarray(before != after)
    return np.asarray(different.any(axis=-1)) if different.ndim > 2 else different
