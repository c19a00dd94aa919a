"""Real images of vendors, from dcmtk's storescu through the node to dcmtk's storescp."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread

from tests.support.images import copy_of, frames_of, pydicom_file, uid_of, ultrasound
from tests.support.node import Node, run_command
from tests.support.peers import StoreSCP, storescu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.timeout(300)

FILL = 0
"""Displayed black, in all of these images: RGB, and MONOCHROME2 in which 0 occurs."""

# What a person reads in the pictures, as first and last row, first and last column: name and identifier; birth date,
# sex and institution; date and time (Philips); each line and column of the banner (Terason, Siemens).
IDENTITY = {
    "GREYSCALE_IMAGE": [(4, 21, 8, 283), (4, 21, 390, 686), (4, 21, 822, 1010)],
    "GREYSCALE_CINE": [(4, 20, 6, 222), (4, 20, 304, 536), (4, 20, 642, 790)],
    "RGB_IMAGE": [
        *((6, 26, 2, 230), (35, 54, 2, 138)),
        *((6, 26, 402, 434), (6, 26, 502, 718), (6, 26, 773, 884), (35, 54, 502, 772)),
    ],
    "RGB_CINE": [
        *((4, 22, 111, 242), (27, 47, 111, 223)),
        *((4, 22, 405, 567), (4, 22, 607, 808), (4, 22, 833, 948), (27, 47, 832, 946)),
    ],
}
FRAMES = {"GREYSCALE_IMAGE": 1, "GREYSCALE_CINE": 27, "RGB_IMAGE": 1, "RGB_CINE": 51, "ultrasound-multiframe": 30}
"""The banner of the last one was blanked by those who published it: what is left on it is the machine's text."""

LOSSLESS_WITH_TEXT = ("OBXXXX1A_rle", "examples_jpeg2k", "JPGLosslessP14SV1_1s_1f_8b")
WITHOUT_TEXT = (
    *("CT_small", "MR_small_implicit", "MR_small_bigendian", "ExplVR_BigEnd"),
    *("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm"),
    *("693_J2KI", "SC_rgb_jpeg_dcmtk", "SC_ybr_full_422_uncompressed", "emri_small_RLE"),
)


@dataclass(frozen=True)
class Way:
    """Images that have gone through a node, by name."""

    sent: dict[str, Path]
    arrived: dict[str, Path]

    def reported(self, name: str, folder: Path) -> list[dict[str, Any]]:
        """Return the regions that the same engine finds without a node."""
        report = folder / "report"
        done = run_command(
            folder, "clean", str(self.sent[name]), str(folder), "--policy", "all-text", "--report", str(report)
        )
        assert done.returncode == 0
        regions: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["regions"]
        return regions


def carry(folder: Path, sent: dict[str, Path]) -> Iterator[Way]:
    """Send images through a node of their own."""
    pacs = StoreSCP(folder / "pacs")
    route = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}
    node = Node(folder / "node", [route], {"pacs": pacs.destination})
    try:
        pacs.start()
        node.start()
        storescu(node.port, *sent.values())
        node.wait_for_work_done(len(sent))
        files = pacs.files()
        yield Way(sent, {name: files[uid] for name, path in sent.items() if (uid := uid_of(path)) in files})
        assert node.stop() == 0
    finally:
        node.kill()
        pacs.end()


@pytest.fixture(scope="module")
def ultrasounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder = tmp_path_factory.mktemp("ultrasounds")
    yield from carry(folder, {name: ultrasound(name, folder) for name in FRAMES})


@pytest.fixture(scope="module")
def syntaxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    folder = tmp_path_factory.mktemp("syntaxes")
    names = (*LOSSLESS_WITH_TEXT, *WITHOUT_TEXT)
    # Several of pydicom's files are one instance in several transfer syntaxes.
    yield from carry(folder, {name: copy_of(pydicom_file(f"{name}.dcm"), folder / f"{name}.dcm") for name in names})


@pytest.mark.parametrize("name", IDENTITY)
def test_what_a_person_reads_in_the_banner_is_uniformly_the_fill_in_every_frame(ultrasounds: Way, name: str) -> None:
    frames = 0
    for before, after in zip(frames_of(ultrasounds.sent[name]), frames_of(ultrasounds.arrived[name]), strict=True):
        for first_row, last_row, first_column, last_column in IDENTITY[name]:
            box = slice(first_row, last_row + 1), slice(first_column, last_column + 1)
            assert np.unique(before[box]).size > 1
            assert (after[box] == FILL).all()
        frames += 1
    assert frames == FRAMES[name]


@pytest.mark.parametrize("name", FRAMES)
def test_a_pixel_is_either_the_fill_or_what_was_sent_and_most_are_what_was_sent(ultrasounds: Way, name: str) -> None:
    for before, after in zip(frames_of(ultrasounds.sent[name]), frames_of(ultrasounds.arrived[name]), strict=True):
        changed = changed_pixels(before, after)
        assert (after[changed] == FILL).all()
        assert 0 < changed.mean() < 0.25


@pytest.mark.parametrize("name", ["GREYSCALE_IMAGE", "GREYSCALE_CINE", "RGB_IMAGE"])
def test_every_pixel_outside_the_reported_regions_is_as_sent_and_every_pixel_inside_is_the_fill(
    ultrasounds: Way, name: str, tmp_path: Path
) -> None:
    assert_painted_exactly(ultrasounds, name, tmp_path)


@pytest.mark.parametrize("name", LOSSLESS_WITH_TEXT)
def test_that_holds_in_lossless_syntaxes_as_well_and_the_syntax_stays(syntaxes: Way, name: str, tmp_path: Path) -> None:
    sent, arrived = dcmread(syntaxes.sent[name]), dcmread(syntaxes.arrived[name])
    assert arrived.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert_painted_exactly(syntaxes, name, tmp_path)


@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_an_image_without_text_arrives_with_its_pixel_data_byte_for_byte(syntaxes: Way, name: str) -> None:
    sent, arrived = dcmread(syntaxes.sent[name]), dcmread(syntaxes.arrived[name])
    assert arrived.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert arrived.PixelData == sent.PixelData
    assert arrived.BurnedInAnnotation == "NO"


def changed_pixels(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two frames differ, in any sample: shape (rows, columns)."""
    different: NDArray[np.bool_] = before != after
    return different.any(axis=-1) if different.ndim > 2 else different


def assert_painted_exactly(way: Way, name: str, folder: Path) -> None:
    regions = way.reported(name, folder)
    assert regions
    pairs = zip(frames_of(way.sent[name]), frames_of(way.arrived[name]), strict=True)
    for index, (before, after) in enumerate(pairs):
        expected = before.copy()
        for region in regions:
            if region["frames"][0] <= index <= region["frames"][1]:
                rows = slice(region["top"], region["top"] + region["height"])
                expected[rows, region["left"] : region["left"] + region["width"]] = FILL
        assert np.array_equal(after, expected)
