"""What a receiver may believe of a file that has just come in."""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.errors import Refuse
from dicom_node.storage_scp_header import read_header

if TYPE_CHECKING:
    from dicom_node.model import SOPInstance

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


def small_dataset() -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    dataset.SOPInstanceUID = UID("1.2.3.4")
    dataset.StudyInstanceUID = UID("1.2.3.5")
    dataset.SeriesInstanceUID = UID("1.2.3.6")
    inner = Dataset()
    # An item's own UIDs are not the instance's.
    inner.SOPInstanceUID = UID("9.9.9")
    inner.is_undefined_length_sequence_item = True
    dataset.ReferencedImageSequence = [inner]
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.add_new(0x7FE00010, "OW", b"\x01\x02" * 40)
    return dataset


def encoded(dataset: Dataset, syntax: UID) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def received(content: bytes) -> memoryview:
    """Return what a receiver would have: preamble, File Meta Information, and the bytes off the wire."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = UID("1.2")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("1.2")
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_file_meta_info(buffer, meta)
    return memoryview(bytes(128) + b"DICM" + buffer.getvalue() + content)


def refused(content: memoryview, syntax: str) -> Refuse:
    with pytest.raises(Refuse) as caught:
        read_header(content, syntax)
    return caught.value


def of(path: Path) -> tuple[SOPInstance, Dataset]:
    dataset = dcmread(path, stop_before_pixels=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        return read_header(mapped, str(dataset.file_meta.TransferSyntaxUID)), dataset


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "image_dfl.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "MR_small_RLE.dcm",
        "emri_small_jpeg_2k_lossless.dcm",
        "reportsi.dcm",
        "liver.dcm",
    ],
)
def test_identity_is_read_as_pydicom_reads_it_in_any_syntax(name: str) -> None:
    instance, dataset = of(Path(str(get_testdata_file(name))))
    assert instance.sop_class_uid == dataset.SOPClassUID
    assert instance.sop_instance_uid == dataset.SOPInstanceUID
    assert instance.study_instance_uid == dataset.StudyInstanceUID
    assert instance.series_instance_uid == dataset.SeriesInstanceUID


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_file_cut_anywhere_in_its_last_element_is_refused(syntax: UID) -> None:
    content = encoded(small_dataset(), syntax)
    assert read_header(received(content), str(syntax)).sop_instance_uid == "1.2.3.4"
    for cut in range(1, 80):
        assert refused(received(content[:-cut]), str(syntax)).status == 0xC000


def test_a_file_cut_anywhere_in_its_encapsulated_pixels_is_refused() -> None:
    source = Path(str(get_testdata_file("MR_small_RLE.dcm"))).read_bytes()
    syntax = "1.2.840.10008.1.2.5"
    for cut in (1, 4, 8, 9, 100, 1000):
        assert refused(memoryview(source[:-cut]), syntax).status == 0xC000


@pytest.mark.parametrize("syntax", NATIVE)
def test_a_file_cut_anywhere_in_an_open_sequence_is_refused(syntax: UID) -> None:
    dataset = small_dataset()
    del dataset[0x7FE00010]
    length = len(encoded(dataset, syntax))
    dataset.RequestAttributesSequence = dataset.ReferencedImageSequence
    dataset["RequestAttributesSequence"].is_undefined_length = True
    content = encoded(dataset, syntax)
    assert read_header(received(content), str(syntax)).sop_instance_uid == "1.2.3.4"
    for end in range(length + 1, len(content)):
        assert refused(received(content[:end]), str(syntax)).status == 0xC000


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("content", [b"\xff" * 37, b"", b"\0" * 64, b"DICM" * 20, bytes(range(256))])
def test_bytes_that_are_no_data_set_are_refused(content: bytes, syntax: UID) -> None:
    assert refused(received(content), str(syntax)).status == 0xC000


@pytest.mark.parametrize("missing", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_a_data_set_without_a_required_uid_is_refused(missing: str) -> None:
    dataset = small_dataset()
    delattr(dataset, missing)
    path = received(encoded(dataset, ExplicitVRLittleEndian))
    assert refused(path, EXPLICIT).comment == "a required UID is missing"


def test_an_endless_nesting_of_sequences_is_refused() -> None:
    opening = b"\x08\x00\x40\x11\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path = received(opening * 5000)
    assert refused(path, IMPLICIT).comment == "the data set cannot be parsed"


def test_a_deflated_data_set_that_grows_past_the_limit_is_refused() -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = deflater.compress(encoded(small_dataset(), ExplicitVRLittleEndian) + bytes(1 << 22)) + deflater.flush()
    with pytest.raises(Refuse, match="too large"):
        read_header(received(content), str(DeflatedExplicitVRLittleEndian), inflate_limit=1 << 20)


def test_what_follows_the_end_of_a_deflated_data_set_is_not_looked_at() -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = deflater.compress(encoded(small_dataset(), ExplicitVRLittleEndian)) + deflater.flush()
    path = received(content + bytes(200_000))
    assert read_header(path, str(DeflatedExplicitVRLittleEndian)).sop_instance_uid == "1.2.3.4"


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_deflated_data_set_that_breaks_off_is_refused(cut: int) -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = deflater.compress(encoded(small_dataset(), ExplicitVRLittleEndian)) + deflater.flush()
    whole = received(content)
    assert read_header(whole, str(DeflatedExplicitVRLittleEndian)).sop_instance_uid == "1.2.3.4"
    path = received(content[:-cut])
    assert refused(path, str(DeflatedExplicitVRLittleEndian)).status == 0xC000


def test_refusals_quote_nothing_of_the_data_set() -> None:
    dataset = small_dataset()
    dataset.PatientID = "SECRET"
    content = encoded(dataset, ExplicitVRLittleEndian)
    assert "SECRET" not in str(refused(received(content[:-3]), EXPLICIT))
