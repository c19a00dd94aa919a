"""Files in and out."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import FileDataset, dcmread
from pydicom.data import get_charset_files
from pydicom.dataelem import RawDataElement
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.errors import Hold
from dicom_node.redaction import Policy, part10, redact
from tests.unit.redaction.made import FindsBoxes, image

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
