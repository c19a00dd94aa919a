"""A file in a native transfer syntax, for destinations that do not accept the one it has (PS3.5 A)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from dicom_node.errors import Hold

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

NATIVE_SYNTAXES = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
"""What every destination should accept; the default transfer syntax (PS3.5 10.1) is the last."""

MAXIMUM_NATIVE_BYTES = 1 << 30
"""Longest pixel data that is decompressed: all of it is held in memory."""


def as_native(path: Path, maximum_bytes: int = MAXIMUM_NATIVE_BYTES) -> Dataset:
    """Read a file whose data set can be sent in either native little endian syntax.

    Attributes that tell of an earlier lossy compression stay, and so does the SOP Instance UID: what is displayed is
    the same. Not done, because the result would not be sure: colour of lossy JPEG, and a change of the byte order.

    Parameters
    ----------
    path : Path
        The file.
    maximum_bytes : int
        Longest native pixel data, in bytes.

    Raises
    ------
    Hold
        When the file cannot be brought into a native syntax.
    """
    dataset = dcmread(path)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == ExplicitVRBigEndian:
        msg = f"the destination does not accept {syntax.name}, and the byte order is not changed"
        raise Hold(msg)
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        _decompress(dataset, maximum_bytes)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian
    return dataset


def _decompress(dataset: Dataset, maximum_bytes: int) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    refused = f"the destination does not accept {syntax.name}, and it cannot be decompressed"
    if syntax in {JPEGBaseline8Bit, JPEGExtended12Bit} and dataset.get("SamplesPerPixel") != 1:
        msg = f"{refused}: the colour of lossy JPEG is not sure"
        raise Hold(msg)
    try:
        fits = _native_bytes(dataset) <= maximum_bytes
        if fits:
            # Another UID would make another instance of it: a second one with each repeat.
            dataset.decompress(generate_instance_uid=False)
    except Exception as error:  # noqa: BLE001 - codecs raise what they like, with element values in the text
        msg = f"{refused}: {type(error).__name__}"
        raise Hold(msg) from None
    if not fits:
        msg = f"{refused}: it is too large"
        raise Hold(msg)


def _native_bytes(dataset: Dataset) -> int:
    frames = int(dataset.get("NumberOfFrames") or 1)
    return int(dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8 * frames)
