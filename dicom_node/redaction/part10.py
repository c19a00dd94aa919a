"""DICOM files in and out (PS3.10): what redaction reads and what it leaves behind."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, BinaryIO

from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicom_node import __version__
from dicom_node.errors import Hold
from dicom_node.model import SOPInstance
from dicom_node.redaction.bulk import LARGE, mapped

if TYPE_CHECKING:
    from pathlib import Path

IMPLEMENTATION_CLASS_UID = UID("2.25.244861570343120613209846172391750172453")
"""Made once from a UUID for this implementation (PS3.5 B.2, PS3.7 D.3.3.2)."""

_PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF

_IDENTITY = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def read(path: Path, *, with_pixels: bool = True) -> FileDataset:
    """Read a file.

    Raises
    ------
    Hold
        When it is no DICOM file, cannot be parsed, or does not say what it is.
    """
    try:
        dataset = _parsed(path, with_pixels=with_pixels)
    except InvalidDicomError:
        msg = "not a DICOM file (PS3.10)"
        raise Hold(msg) from None
    except Exception as error:
        msg = f"the file cannot be parsed ({type(error).__name__})"
        raise Hold(msg) from error
    if not dataset.file_meta.get("TransferSyntaxUID"):
        msg = "the file has no Transfer Syntax UID"
        raise Hold(msg)
    missing = [keyword for keyword in _IDENTITY if not dataset.get(keyword)]
    if missing:
        msg = f"missing: {', '.join(missing)}"
        raise Hold(msg)
    return dataset


def _parsed(path: Path, *, with_pixels: bool) -> FileDataset:
    dataset = dcmread(path, stop_before_pixels=not with_pixels, defer_size=LARGE)
    if dataset.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        # Where a value stands is said of the inflated bytes: in the file something else is there.
        return dcmread(path, stop_before_pixels=not with_pixels)
    _map_pixel_data(dataset, path)
    return dataset


def _map_pixel_data(dataset: FileDataset, path: Path) -> None:
    """Let large native pixel data be read from the file where it stands."""
    # values() gives elements as they were read: any other access would read a deferred value into memory.
    for element in list(dataset.values()):
        if not isinstance(element, RawDataElement) or element.tag != _PIXEL_DATA:
            continue
        # An odd length (there are such files) is left to memory: pydicom pads a buffer, and not the length it writes.
        if element.value is None and element.length != _UNDEFINED_LENGTH and not element.length % 2:
            dataset.add_new(_PIXEL_DATA, element.VR or "OW", mapped(path, element.value_tell, element.length))


def write(dataset: Dataset, file: BinaryIO) -> None:
    """Write a data set with preamble and File Meta Information made anew: nothing of the source's is in them.

    Raises
    ------
    Hold
        When the data set cannot be encoded.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"DICOM_NODE_{__version__}"[:16]
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    try:
        if not meta.TransferSyntaxUID.is_implicit_VR and any(element.VR is None for element in dataset.values()):
            deque(dataset.iterall(), maxlen=0)  # it was not encoded as it said: its elements get their VR
        dataset.save_as(file, enforce_file_format=True)
    except OSError:
        raise
    except Exception as error:
        msg = f"the cleaned data set cannot be encoded ({type(error).__name__})"
        raise Hold(msg) from error


def identity(dataset: Dataset) -> SOPInstance:
    """Return what identifies a data set, as plain strings."""
    return SOPInstance(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
    )
