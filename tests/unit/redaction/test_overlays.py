"""Overlay planes that are kept: text is cleared, marks stay, and what was not looked at goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import Hold
from dicom_node.model import Outcome
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.reading import Reading
from tests.unit.redaction.made import FindsBoxes, image, reread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import FileDataset

KEPT = Policy("all-text", overlays="redact")
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
TEXT = Box(3, 5, 6, 9)


def marks(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 2, shape).astype("u1")


def packed(bits: NDArray[np.uint8], *, swapped: bool) -> bytes:
    content = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    content += b"\0" * (len(content) % 2)
    return np.frombuffer(content, "<u2").byteswap().tobytes() if swapped else content


def add_plane(dataset: Dataset, bits: NDArray[np.uint8], group: int = 0x6000, vr: str = "OW") -> None:
    """Add an overlay of shape (rows, columns) or (frames, rows, columns)."""
    swapped = vr == "OW" and dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    dataset.add_new((group, 0x0010), "US", bits.shape[-2])
    dataset.add_new((group, 0x0011), "US", bits.shape[-1])
    if bits.ndim == 3:
        dataset.add_new((group, 0x0015), "IS", len(bits))
    dataset.add_new((group, 0x0040), "CS", "G")
    dataset.add_new((group, 0x0050), "SS", [-7, 300])
    dataset.add_new((group, 0x0100), "US", 1)
    dataset.add_new((group, 0x0102), "US", 0)
    dataset.add_new((group, 0x3000), vr, packed(bits, swapped=swapped))


def with_plane(bits: NDArray[np.uint8], syntax: str = ExplicitVRLittleEndian, **how: Any) -> FileDataset:  # noqa: ANN401
    dataset = image(np.full((1, 16, 16), 7, "u1"), syntax=syntax)
    add_plane(dataset, bits, **how)
    return reread(dataset)


class OnOverlays(FindsBoxes):
    """Finds boxes in pictures of two colours, and keeps what it was shown."""

    def __init__(self, *boxes: Box, reads: Reading | None = None) -> None:
        super().__init__(*boxes, reads=reads)
        self.shown: list[NDArray[np.uint8]] = []

    def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
        if set(np.unique(pictures[0])) != {0, 255}:
            return []
        self.shown.append(pictures[0][..., 0] // 255)
        return super().find(pictures)


@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_text_in_a_kept_overlay_is_cleared_and_every_other_bit_stays(syntax: str, vr: str) -> None:
    bits = marks(20, 23)  # larger than the image, and of no whole number of bytes a row
    dataset = with_plane(bits, syntax, vr=vr)
    detector = OnOverlays(TEXT)
    redaction = redact(dataset, KEPT, detector)
    assert np.array_equal(detector.shown[0], bits), "the detector saw the picture that a viewer shows"
    expected = bits.copy()
    expected[3:9, 5:14] = 0
    again = reread(dataset)
    swapped = vr == "OW" and syntax == ExplicitVRBigEndian
    assert again[0x60003000].value == packed(expected, swapped=swapped)
    assert again[0x60000050].value == [-7, 300]
    assert redaction.outcome is Outcome.CLEANED
    assert [(r.source, r.row, r.column, r.height, r.width) for r in redaction.regions] == [("overlay", *TEXT)]


def test_every_frame_of_a_multi_frame_overlay_is_looked_at() -> None:
    bits = marks(3, 11, 17)
    dataset = with_plane(bits)
    detector = OnOverlays(TEXT)
    redaction = redact(dataset, KEPT, detector)
    assert np.array_equal(detector.shown, bits)
    assert [(r.first_frame, r.last_frame) for r in redaction.regions] == [(0, 0), (1, 1), (2, 2)]
    bits[:, 3:9, 5:14] = 0
    assert reread(dataset)[0x60003000].value == packed(bits, swapped=False)


def test_every_group_is_looked_at() -> None:
    dataset = image(np.full((1, 16, 16), 7, "u1"))
    for group in range(0x6000, 0x6020, 2):
        add_plane(dataset, marks(16, 16), group)
    detector = OnOverlays(TEXT)
    assert len(redact(reread(dataset), KEPT, detector).regions) == len(detector.shown) == 16


def test_an_overlay_without_text_leaves_as_it_came_but_for_the_words_about_it() -> None:
    bits = marks(20, 23)
    dataset = with_plane(bits)
    dataset.add_new(0x60000022, "LO", "DOE JANE")
    dataset.add_new(0x60001500, "LO", "DOE JANE")
    content = bytearray(dataset[0x60003000].value)
    content[-1] |= 0xF0  # behind the 460th bit
    dataset[0x60003000].value = bytes(content)
    redact(dataset, KEPT, OnOverlays())
    again = reread(dataset)
    assert again[0x60003000].value == packed(bits, swapped=False)
    assert 0x60000022 not in again
    assert 0x60001500 not in again


def test_text_in_an_overlay_stays_where_the_policy_says_so() -> None:
    spared = OnOverlays(TEXT, reads=Reading("120 kV", 0.99))
    assert redact(with_plane(marks(16, 16)), Policy("keep-safe-text", overlays="redact"), spared).regions == ()
    named = OnOverlays(TEXT, reads=Reading("Name: DOE JANE", 0.99))
    assert len(redact(with_plane(marks(16, 16)), Policy("keep-safe-text", overlays="redact"), named).regions) == 1
    assert len(redact(with_plane(marks(16, 16)), Policy("phi-only", overlays="redact"), named).regions) == 1


@pytest.mark.parametrize(
    ("element", "vr", "value"),
    [
        (0x0010, "US", 0),
        (0x0010, "US", 30),
        (0x0010, "US", 12),
        (0x0011, "US", [16, 16]),
        (0x0015, "IS", 2),
        (0x0015, "IS", 0),
        (0x0015, "IS", -1),
        (0x3000, "OW", b""),
        (0x3000, "OW", b"\1" * 36),
    ],
)
def test_an_overlay_that_contradicts_its_size_is_held(element: int, vr: str, value: Any) -> None:  # noqa: ANN401
    dataset = with_plane(marks(16, 16))
    dataset.add_new((0x6000, element), vr, value)
    with pytest.raises(Hold, match="contradicts its own size"):
        redact(dataset, KEPT, OnOverlays())


def test_an_overlay_without_rows_is_held() -> None:
    dataset = with_plane(marks(16, 16))
    del dataset[0x60000010]
    with pytest.raises(Hold, match="contradicts its own size"):
        redact(dataset, KEPT, OnOverlays())


def test_an_overlay_in_the_unused_bits_of_pixels_goes_also_where_overlays_are_kept() -> None:
    values = np.full((1, 16, 16), 7, "u2")
    hidden = values.copy()
    hidden[0, 4:8, 4:8] |= 0x8000
    dataset = image(hidden, stored=12)
    dataset.add_new(0x60000010, "US", 16)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 15)
    redaction = redact(dataset, KEPT, OnOverlays())
    assert set(redaction.actions) == {"overlay removed", "unused bits cleared"}
    again = reread(dataset)
    assert again.PixelData == values.tobytes()
    assert [tag for tag in again.keys() if tag.group == 0x6000] == []  # noqa: SIM118 - the tags, not the elements


@pytest.mark.parametrize("group", [0x6001, 0x6020, 0x60FE])
def test_a_group_that_is_no_overlay_of_the_standard_goes_also_where_overlays_are_kept(group: int) -> None:
    dataset = with_plane(marks(16, 16))
    dataset.add_new((group, 0x3000), "OW", b"\1" * 32)
    assert "overlay removed" in redact(dataset, KEPT, OnOverlays()).actions
    assert (group, 0x3000) not in reread(dataset)


def test_an_overlay_in_an_item_of_a_sequence_was_not_looked_at_and_goes() -> None:
    dataset = with_plane(marks(16, 16))
    item = Dataset()
    item.file_meta = dataset.file_meta
    add_plane(item, marks(16, 16))
    dataset.ReferencedImageSequence = [item]
    dataset = reread(dataset)
    assert redact(dataset, KEPT, OnOverlays()).actions == ("overlay removed",)
    again = reread(dataset)
    assert len(again.ReferencedImageSequence[0]) == 0
    assert 0x60003000 in again
