"""Made images of every kind, and detectors that are cheap: what they find is decided here, how it is used is tested."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from dicom_node.redaction import part10
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.format import NATIVE
from dicom_node.redaction.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TEXT = Box(8, 12, 6, 20)
"""Where :func:`with_text` writes."""


class FindsBoxes:
    """Finds the same boxes on whatever it is shown, and reads the same in each."""

    name = "finds boxes"

    def __init__(self, *boxes: Box, reads: Reading | None = None) -> None:
        self._boxes, self._reads = boxes, reads or Reading("", 0.0)

    def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
        rows, columns = pictures[0].shape[:2]
        return [b for b in self._boxes if b.row + b.height <= rows and b.column + b.width <= columns]

    def glimpse(self, _picture: NDArray[np.uint8], _known: Sequence[Box]) -> list[Box]:
        return []

    def read(self, _pictures: Sequence[NDArray[np.uint8]], _box: Box) -> Reading:
        return self._reads


class FindsContrast(FindsBoxes):
    """Finds what differs visibly from the corner of a picture, as one box: text on a plain ground."""

    name = "finds contrast"
    visible = 20

    def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
        found = []
        for picture in pictures:
            differs = (np.abs(picture.astype(int) - picture[0, 0].astype(int)) >= self.visible).any(axis=-1)
            rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
            if rows.size:
                height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
                found.append(Box(int(rows[0]), int(columns[0]), int(height), int(width)))
        return found


def with_text(shape: tuple[int, ...], ground: Any, ink: Any, dtype: str = "u2") -> NDArray[Any]:  # noqa: ANN401 - a value or a colour
    """Make a frame with strokes in :data:`TEXT`."""
    frame = np.full(shape, ground, dtype)
    for offset in range(0, TEXT.width, 3):
        frame[TEXT.row : TEXT.row + TEXT.height, TEXT.column + offset : TEXT.column + offset + 2] = ink
    return frame


def image(
    frames: NDArray[Any],
    *,
    syntax: str = ExplicitVRLittleEndian,
    photometric: str = "MONOCHROME2",
    stored: int | None = None,
    high_bit: int | None = None,
    signed: bool = False,
    planar: int = 0,
    **attributes: Any,  # noqa: ANN401 - of any VR
) -> FileDataset:
    """Make an instance, and read it as it would be read from a file.

    ``frames`` are containers (unsigned): shape (frames, rows, columns) or (frames, rows, columns, 3).
    """
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality = "CT"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape[:3]
    dataset.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = frames.dtype.itemsize * 8
    dataset.BitsStored = stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1 if high_bit is None else high_bit
    dataset.PixelRepresentation = int(signed)
    if frames.ndim == 4:
        dataset.PlanarConfiguration = planar
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    _set_pixel_data(dataset, frames, planar)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return reread(dataset)


def _set_pixel_data(dataset: Dataset, frames: NDArray[Any], planar: int) -> None:
    if dataset.file_meta.TransferSyntaxUID in NATIVE:
        order = ">" if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
        laid_out = np.moveaxis(frames, -1, 1) if planar else frames
        content = laid_out.astype(f"{order}u{frames.dtype.itemsize}").tobytes()
        dataset.PixelData = content + b"\0" * (len(content) % 2)
        dataset["PixelData"].VR = "OB" if frames.dtype.itemsize == 1 else "OW"
    else:
        dataset.PixelData = encapsulate([encoded(frame, dataset) for frame in frames])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True


def encoded(frame: NDArray[Any], dataset: Dataset) -> bytes:
    """Encode one frame in the transfer syntax of a data set, with other code than the package's where there is some."""
    depth = int(dataset.BitsStored)
    match dataset.file_meta.TransferSyntaxUID:
        case UID() as syntax if syntax == RLELossless:
            return _rle(frame)
        case UID() as syntax if syntax == JPEGLSLossless:
            return bytes(imagecodecs.jpegls_encode(frame))
        case UID() as syntax if syntax == JPEGLosslessSV1:
            kind = "rgb" if frame.ndim == 3 else None
            return bytes(
                imagecodecs.jpeg8_encode(
                    frame, lossless=True, predictor=1, bitspersample=depth, colorspace=kind, outcolorspace=kind
                )
            )
        case UID() as syntax if syntax == JPEG2000Lossless:
            coded = imagecodecs.jpeg2k_encode(frame, level=0, codecformat="j2k", reversible=True, bitspersample=depth)
            return bytes(coded)
        case UID() as syntax if syntax == HTJ2KLossless:
            return bytes(imagecodecs.htj2k_encode(frame, reversible=True))
        case UID() as syntax if syntax == JPEGBaseline8Bit:
            return bytes(imagecodecs.jpeg8_encode(frame, level=90))
    raise AssertionError(dataset.file_meta.TransferSyntaxUID)


def _rle(frame: NDArray[Any]) -> bytes:
    samples = 3 if frame.ndim == 3 else 1
    return bytes(
        RLELosslessEncoder.encode(
            frame.tobytes(),
            encoding_plugin="pydicom",
            rows=frame.shape[0],
            columns=frame.shape[1],
            samples_per_pixel=samples,
            bits_allocated=frame.dtype.itemsize * 8,
            bits_stored=frame.dtype.itemsize * 8,
            pixel_representation=0,
            photometric_interpretation="RGB" if samples == 3 else "MONOCHROME2",
            number_of_frames=1,
            planar_configuration=0,
        )
    )


def reread(dataset: Dataset) -> FileDataset:
    """Write with the package, read with pydicom."""
    file = BytesIO()
    part10.write(dataset, file)
    file.seek(0)
    return dcmread(file)
