"""Files in and out."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import FileDataset, dcmread
from pydicom.data import get_charset_files
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from dicom_node.errors import Hold
from dicom_node.redaction import Policy, part10, redact
from dicom_node.redaction.boxes import Box
from tests.unit.redaction.made import FindsBoxes, image

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAME = np.zeros((1, 8, 8), "u1")
PATIENT_AND_STUDY = frozenset({0x0010, 0x0020, 0x0032, 0x0040})


@pytest.mark.parametrize("content", [b"", b"\xff" * 500, b"\0" * 128 + b"DICM"])
def test_what_is_no_instance_is_held(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(Hold):
        part10.read(path)


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_an_instance_that_does_not_say_what_it_is_is_held(tmp_path: Path, keyword: str) -> None:
    dataset = image(FRAME)
    delattr(dataset, keyword)
    dataset.save_as(tmp_path / "file")
    with pytest.raises(Hold, match=keyword):
        part10.read(tmp_path / "file")


def test_nothing_of_the_source_stands_before_the_data_set(tmp_path: Path) -> None:
    dataset = image(FRAME)
    dataset.preamble = b"DOE JANE".ljust(128)
    dataset.file_meta.SourceApplicationEntityTitle = "CT_OF_DOE"
    dataset.save_as(tmp_path / "file")
    file = BytesIO()
    part10.write(part10.read(tmp_path / "file"), file)
    assert b"DOE" not in file.getvalue()
    assert file.getvalue().startswith(b"\0" * 128 + b"DICM")


def raw_values(dataset: FileDataset) -> dict[int, bytes]:
    """Take the bytes of the elements that redaction has no business with."""
    values: dict[int, bytes] = {}
    for tag in dataset.keys():  # noqa: SIM118 - iterating a data set itself would convert its elements
        element: Any = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and tag.group in PATIENT_AND_STUDY and tag.element:
            values[int(tag)] = element.value or b""
    return values


@pytest.mark.parametrize("policy", ["all-text", "keep-safe-text"])
@pytest.mark.parametrize("path", sorted(get_charset_files("*.dcm")), ids=lambda path: Path(path).stem)
def test_the_header_leaves_byte_for_byte_as_it_came(path: str, policy: str) -> None:
    """Identity in the header is somebody else's to map: a name in an odd character set is not to be guessed at."""
    source = dcmread(path)
    source.SOPClassUID, source.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"  # two of the files have none
    for element in image(FRAME):
        if element.tag.group in {0x0028, 0x7FE0}:
            source[element.tag] = element
    before = raw_values(source)
    redact(source, Policy(policy), FindsBoxes())
    file = BytesIO()
    part10.write(source, file)
    file.seek(0)
    after = raw_values(dcmread(file))
    assert before
    assert after == before


LARGE = (1, 2900, 2901)
"""Odd, and beyond the size from which pixel data is mapped from its file."""


def rising(shape: tuple[int, int, int], depth: int) -> NDArray[Any]:
    """Make frames that rise from row to row, nowhere 0: noise would be looked through for barcodes, at length."""
    rows = np.linspace(1, (1 << depth) - 1, shape[1]).astype(f"u{depth // 8}")
    return np.broadcast_to(rows[:, None], shape)


def large_file(path: Path, syntax: str, vr: str = "OW", depth: int = 16) -> tuple[bytes, NDArray[Any]]:
    frames = rising(LARGE if depth == 16 else (1, 4097, 4100), depth)
    dataset = image(frames, syntax=syntax)
    dataset["PixelData"].VR = vr
    with path.open("wb") as file:
        part10.write(dataset, file)
    return path.read_bytes(), dataset.pixel_array.copy()


@pytest.mark.parametrize("second_look", [False, True])
@pytest.mark.parametrize(
    ("syntax", "vr", "depth"),
    [
        (ExplicitVRLittleEndian, "OW", 16),
        (ImplicitVRLittleEndian, "OW", 16),
        (DeflatedExplicitVRLittleEndian, "OW", 16),
        (ExplicitVRBigEndian, "OW", 8),
        (ExplicitVRLittleEndian, "OB", 8),
    ],
)
def test_a_large_file_is_painted_and_its_source_never_changes(
    tmp_path: Path,
    syntax: str,
    vr: str,
    depth: int,
    second_look: bool,  # noqa: FBT001 - parametrized
) -> None:
    before, pixels = large_file(tmp_path / "file", syntax, vr, depth)
    dataset = part10.read(tmp_path / "file")
    redact(dataset, Policy("all-text", second_look=second_look), FindsBoxes(Box(20, 31, 40, 57)))
    file = BytesIO()
    part10.write(dataset, file)
    file.seek(0)
    after = dcmread(file).pixel_array
    changed = np.argwhere(after != pixels)
    assert changed.min(axis=0).tolist() == [20, 31]
    assert changed.max(axis=0).tolist() == [59, 87]
    assert len(np.unique(after[20:60, 31:88])) == 1
    assert (tmp_path / "file").read_bytes() == before


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_a_large_file_in_which_nothing_is_found_keeps_its_pixel_data(tmp_path: Path, syntax: str) -> None:
    large_file(tmp_path / "file", syntax)
    dataset = part10.read(tmp_path / "file")
    redact(dataset, Policy("all-text"), FindsBoxes())
    file = BytesIO()
    part10.write(dataset, file)
    file.seek(0)
    assert dcmread(file).PixelData == dcmread(tmp_path / "file").PixelData


def test_a_large_file_that_is_cut_off_is_held(tmp_path: Path) -> None:
    content, _ = large_file(tmp_path / "file", ExplicitVRLittleEndian)
    (tmp_path / "file").write_bytes(content[: len(content) // 2])
    with pytest.raises(Hold):
        redact(part10.read(tmp_path / "file"), Policy("all-text"), FindsBoxes())


@pytest.mark.parametrize("box", [(), (Box(20, 31, 40, 57),)], ids=["as it is", "painted"])
def test_a_large_value_of_odd_length_is_padded_and_what_stands_behind_it_stays(
    tmp_path: Path, box: tuple[Box, ...]
) -> None:
    frames = rising((1, 4097, 4099), 8)
    dataset = image(frames, DataSetTrailingPadding=b"1234")
    with (tmp_path / "file").open("wb") as file:
        part10.write(dataset, file)
    even = (tmp_path / "file").read_bytes()
    length = frames.size + 1
    assert even.count(length.to_bytes(4, "little")) == 1
    odd = even.replace(length.to_bytes(4, "little"), frames.size.to_bytes(4, "little"))
    trailing = odd.rindex(b"\xfc\xff\xfc\xff")
    (tmp_path / "file").write_bytes(odd[: trailing - 1] + odd[trailing:])
    source = part10.read(tmp_path / "file")
    redact(source, Policy("all-text"), FindsBoxes(*box))
    clean = BytesIO()
    part10.write(source, clean)
    clean.seek(0)
    again = dcmread(clean)
    assert again.DataSetTrailingPadding == b"1234"
    assert len(again.PixelData) == length
    assert again.PixelData[: 4099 * 20] == frames.tobytes()[: 4099 * 20]
