"""Large values: read and written as bytes would be, and the file they are mapped from never changes."""

from __future__ import annotations

import os
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from dicom_node.redaction import part10
from dicom_node.redaction.bulk import Parts, mapped

if TYPE_CHECKING:
    from pathlib import Path

steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 40)),
        st.tuples(st.just("seek"), st.integers(0, 40), st.just(os.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(0, 10), st.just(os.SEEK_CUR)),
        st.tuples(st.just("seek"), st.integers(-5, 5), st.just(os.SEEK_END)),
        st.tuples(st.just("tell")),
    ),
    max_size=20,
)


@given(parts=st.lists(st.binary(max_size=9), max_size=6), steps=steps)
def test_parts_read_as_the_bytes_they_are(parts: list[bytes], steps: list[tuple[str, int]]) -> None:
    whole = b"".join(parts)
    ours, theirs = Parts(parts), BytesIO(whole)
    assert len(ours) == len(whole)
    for name, *arguments in steps:
        if name == "seek" and arguments[1] == os.SEEK_END and len(whole) + arguments[0] < 0:
            continue  # BytesIO goes to the start, real files raise
        assert getattr(ours, name)(*arguments) == getattr(theirs, name)(*arguments)
    assert bytes(ours.memory) == whole


def test_pydicom_writes_parts_as_it_writes_bytes_however_often() -> None:
    """Of an even number: of odd ones it would write an odd length and a padding behind it (see part10)."""
    content = b"123456"
    written = []
    for value in (content, Parts([content[:1], content[1:]]), Parts([content])):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.add_new(0x7FE00010, "OB", value)
        for _ in range(2):
            file = BytesIO()
            part10.write(dataset, file)
            written.append(file.getvalue())
    assert len(set(written)) == 1
    assert dcmread(BytesIO(written[0])).PixelData == content


def test_what_is_written_into_a_map_does_not_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    value = mapped(path, 3, 4)
    assert value.read() == b"3456"
    value.memory[0:1] = b"x"
    assert bytes(value.memory) == b"x456"
    assert path.read_bytes() == b"0123456789"


def test_a_file_that_is_shorter_than_it_says_is_not_mapped(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with pytest.raises(ValueError, match="shorter"):
        mapped(path, 7, 4)
