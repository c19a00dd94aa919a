"""What stands beside the pixels: removed, or the instance is held."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pydicom import DataElement, Dataset, FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian

from dicom_node.errors import Hold
from dicom_node.model import Outcome
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.planes import remove_planes
from tests.unit.redaction.made import FindsBoxes, image, reread

FRAME = np.random.default_rng(9).integers(0, 255, (1, 16, 16)).astype("u1")
SYNTAXES = ("1.2.840.10008.1.2.1", ImplicitVRLittleEndian)


def picture(size: int = 16) -> Dataset:
    item = Dataset()
    item.Rows = item.Columns = size
    item.add_new(0x7FE00010, "OW", bytes(size * size))
    return item


def nested(*tags: int) -> Dataset:
    """Stand a picture in sequences, the outermost tag first."""
    item = picture()
    for tag in reversed(tags):
        outer = Dataset()
        outer.add_new(tag, "SQ", [item])
        item = outer
    return item


def private(dataset: FileDataset, vr: str, value: Any) -> None:  # noqa: ANN401 - of any VR
    dataset.private_block(0x0029, "TESTS", create=True).add_new(0x10, vr, value)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    ("tag", "vr", "value", "action"),
    [
        (0x60003000, "OW", b"\1" * 32, "overlay removed"),
        (0x601E3000, "OW", b"\1" * 32, "overlay removed"),
        (0x60000102, "US", 12, "overlay removed"),
        (0x50003000, "OW", b"\1" * 32, "curve removed"),
        (0x00880200, "SQ", [picture()], "icon removed"),
    ],
)
def test_planes_are_removed(syntax: str, tag: int, vr: str, value: Any, action: str) -> None:  # noqa: ANN401
    dataset = image(FRAME, syntax=syntax)
    dataset.add_new(tag, vr, value)
    dataset = reread(dataset)
    redaction = redact(dataset, Policy("all-text"), FindsBoxes())
    assert (redaction.outcome, redaction.actions) == (Outcome.CLEANED, (action,))
    assert tag not in reread(dataset)
    assert reread(dataset).PixelData == FRAME.tobytes()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_planes_in_sequences_are_removed_as_well(syntax: str) -> None:
    item = Dataset()
    item.add_new(0x60003000, "OW", b"\1" * 32)
    item.add_new(0x00880200, "SQ", [picture()])
    dataset = reread(image(FRAME, syntax=syntax, ReferencedImageSequence=[item]))
    assert remove_planes(dataset) == ("icon removed", "overlay removed")
    assert len(dataset.ReferencedImageSequence[0]) == 0


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pixel_data_in_a_standard_sequence_is_held(syntax: str) -> None:
    dataset = image(FRAME, syntax=syntax)
    dataset.update(nested(0x00081140, 0x00082112))
    with pytest.raises(Hold, match="nested"):
        remove_planes(reread(dataset))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_pixel_data_in_a_private_sequence_is_removed(syntax: str) -> None:
    dataset = image(FRAME, syntax=syntax)
    private(dataset, "SQ", [nested(0x00081140)])
    dataset = reread(dataset)
    assert remove_planes(dataset) == ("private pixel data removed",)


def packed(item: Dataset) -> bytes:
    """Write a sequence as it stands in an element of VR UN (PS3.5 6.2.2)."""
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    write_dataset(file, item)
    content = file.getvalue()
    return b"\xfe\xff\x00\xe0" + len(content).to_bytes(4, "little") + content


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_private_sequence_of_unknown_vr_with_pixel_data_is_removed(syntax: str) -> None:
    dataset = image(FRAME, syntax=syntax)
    private(dataset, "UN", packed(picture()))
    assert remove_planes(reread(dataset)) == ("private pixel data removed",)


@pytest.mark.parametrize("size", [16, 300])
def test_a_standard_sequence_of_unknown_vr_with_pixel_data_is_held(size: int) -> None:
    """Beyond 64 KiB pydicom leaves it bytes."""
    dataset = image(FRAME)
    dataset[0x00081140] = DataElement(0x00081140, "OB", packed(picture(size)))
    file = BytesIO()
    dataset.save_as(file)
    content = file.getvalue().replace(b"\x08\x00\x40\x11OB", b"\x08\x00\x40\x11UN")
    again = reread_bytes(content)
    with pytest.raises(Hold, match="nested"):
        remove_planes(again)


def reread_bytes(content: bytes) -> FileDataset:
    from pydicom import dcmread  # noqa: PLC0415 - only here

    return dcmread(BytesIO(content))


@pytest.mark.parametrize(
    ("content", "stays"), [(bytes(4096), False), (b"SV10" + bytes(9000), True), (bytes(400), True)]
)
def test_large_private_bytes_go_and_parameters_stay(content: bytes, stays: bool) -> None:  # noqa: FBT001
    dataset = image(FRAME)
    private(dataset, "OB", content)
    dataset = reread(dataset)
    assert bool(remove_planes(dataset)) != stays
    assert (0x00291010 in dataset) == stays


@pytest.mark.parametrize(
    ("tag", "vr"), [(0x7FE00020, "OW"), (0x7F000010, "OW"), (0x7F200010, "OB"), (0x00420011, "OB")]
)
def test_retired_pixel_data_and_documents_are_held(tag: int, vr: str) -> None:
    dataset = image(FRAME)
    dataset.add_new(tag, vr, b"\1" * 16)
    with pytest.raises(Hold):
        remove_planes(reread(dataset))


def test_an_image_without_planes_is_left_alone() -> None:
    dataset = image(FRAME, ReferencedImageSequence=[Dataset()])
    assert remove_planes(dataset) == ()
