"""Frames of 0 to 1 to DICOM instances: bit depths, palettes, colour spaces (PS3.3 C.7.6.3)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from pydicom import DataElement, Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    XRayAngiographicImageStorage,
    generate_uid,
)

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from .identity import Identity

_CLASSES = {
    "CT": ("CT", CTImageStorage),
    "MR": ("MR", MRImageStorage),
    "DX": ("CR", ComputedRadiographyImageStorage),
    "MG": ("MG", DigitalMammographyXRayImageStorageForPresentation),
    "US": ("US", UltrasoundImageStorage),
    "SC": ("OT", SecondaryCaptureImageStorage),
    "XA": ("XA", XRayAngiographicImageStorage),
}
_BYTE = 8
_COLOURS = 3


class Encoding(NamedTuple):
    """How samples are stored: Photometric Interpretation, Bits Stored, Pixel Representation, Planar Configuration."""

    photometric: str = "MONOCHROME2"
    bits: int = 8
    signed: bool = False
    planar: int = 0

    @property
    def is_colour(self) -> bool:
        """Whether it has three samples a pixel."""
        return self.photometric in {"RGB", "YBR_FULL"}

    def __str__(self) -> str:
        sign = " signed" if self.signed else ""
        return f"{self.photometric} {self.bits}{sign}{f' planar {self.planar}' if self.is_colour else ''}"


ENCODINGS = {
    "CT": (Encoding(bits=12), Encoding(bits=16, signed=True), Encoding(bits=16)),
    "MR": (Encoding(bits=12), Encoding(bits=16), Encoding(bits=12, signed=True)),
    "DX": (Encoding("MONOCHROME1", 12), Encoding(bits=10), Encoding("MONOCHROME1", 15), Encoding(bits=14)),
    "MG": (Encoding(bits=12), Encoding("MONOCHROME1", 14)),
    "US": (Encoding(), Encoding("RGB"), Encoding("RGB", planar=1), Encoding("YBR_FULL"), Encoding("PALETTE COLOR")),
    "SC": (Encoding("RGB"), Encoding(), Encoding("PALETTE COLOR"), Encoding("RGB", planar=1)),
    "XA": (Encoding(), Encoding(bits=10), Encoding(bits=12)),
}
"""What each modality comes in."""


def instance(
    rng: Generator, frames: NDArray[np.float32], modality: str, encoding: Encoding, person: Identity
) -> Dataset:
    """Encode frames as one instance in Explicit VR Little Endian.

    Parameters
    ----------
    frames : numpy.ndarray
        float32, shape (frames, rows, columns, samples), 0 (black) to 1 (white).
    person : Identity
        Stands in the header: the same values that are burned in.
    """
    count, rows, columns, samples = frames.shape
    dataset = _header(rng, modality, count, person)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, samples
    dataset.PhotometricInterpretation = encoding.photometric
    dataset.BitsAllocated = _BYTE if encoding.bits <= _BYTE else 2 * _BYTE
    dataset.BitsStored, dataset.HighBit = encoding.bits, encoding.bits - 1
    dataset.PixelRepresentation = int(encoding.signed)
    if samples == _COLOURS:
        dataset.PlanarConfiguration = encoding.planar
    if encoding.photometric == "PALETTE COLOR":
        _add_palette(dataset)
    if encoding.bits > _BYTE:
        _add_window(rng, dataset, encoding)
    pixels = _stored(frames, encoding).tobytes()
    dataset["PixelData"] = _pixel_data(pixels, dataset.BitsAllocated)
    return dataset


def _header(rng: Generator, modality: str, count: int, person: Identity) -> Dataset:
    name, sop_class = _CLASSES[modality]
    dataset = Dataset()
    dataset.SOPClassUID = UltrasoundMultiFrameImageStorage if modality == "US" and count > 1 else sop_class
    seed = hashlib.sha256(rng.bytes(16)).hexdigest()
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = (
        generate_uid(entropy_srcs=[seed, level]) for level in ("instance", "series", "study")
    )
    dataset.Modality, dataset.ImageType, dataset.BurnedInAnnotation = name, ["ORIGINAL", "PRIMARY"], "YES"
    dataset.PatientName, dataset.PatientID = f"{person.family}^{person.given}", person.patient_id
    dataset.PatientBirthDate, dataset.StudyDate = person.birth_date, person.study_date
    dataset.InstitutionName, dataset.ReferringPhysicianName = person.institution, person.physician
    dataset.AccessionNumber = person.accession
    if count > 1:
        dataset.NumberOfFrames, dataset.FrameTime = count, 40
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _pixel_data(pixels: bytes, bits_allocated: int) -> DataElement:
    return DataElement("PixelData", "OB" if bits_allocated == _BYTE else "OW", pixels + b"\0" * (len(pixels) % 2))


def _add_window(rng: Generator, dataset: Dataset, encoding: Encoding) -> None:
    """Add a VOI window: none, all of the range, or (as in CT) a part of it."""
    levels = 1 << encoding.bits
    lowest = -(levels // 2) if encoding.signed else 0
    kind = rng.choice(["none", "full", "part"])
    if kind == "full":
        dataset.WindowCenter, dataset.WindowWidth = lowest + levels // 2, levels
    elif kind == "part":
        dataset.WindowCenter, dataset.WindowWidth = lowest + round(0.45 * levels), round(0.6 * levels)


def _add_palette(dataset: Dataset) -> None:
    """Add a table that shows an index as a bluish grey of the same brightness (PS3.3 C.7.6.3.1.5)."""
    ramp = np.arange(256, dtype=np.uint16) * 257
    for name, share in (("Red", 0.94), ("Green", 1.0), ("Blue", 1.0)):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", (ramp * share).astype("<u2").tobytes())


def _stored(frames: NDArray[np.float32], encoding: Encoding) -> NDArray[Any]:
    levels = (1 << encoding.bits) - 1
    values = np.rint(np.clip(frames, 0, 1) * levels).astype(np.int32)
    if encoding.photometric == "MONOCHROME1":
        values = levels - values
    if encoding.signed:
        return (values - (levels + 1) // 2).astype("<i2")
    stored = values.astype("<u2" if encoding.bits > _BYTE else "u1")
    if encoding.photometric == "YBR_FULL":
        stored = np.stack([convert_color_space(frame, "RGB", "YBR_FULL") for frame in stored])
    return stored.transpose(0, 3, 1, 2) if encoding.planar else stored


def coloured(rng: Generator, grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn grey frames (frames, rows, columns) into RGB, with a patch of colour flow in half of them."""
    frames = np.repeat(grey[..., None], _COLOURS, axis=-1)
    if rng.random() < 0.5:  # noqa: PLR2004 - half
        rows, columns = grey.shape[1:]
        flow = np.zeros((rows, columns), np.float32)
        centre = int(columns * rng.uniform(0.4, 0.6)), int(rows * rng.uniform(0.4, 0.6))
        cv2.ellipse(flow, centre, (columns // 9, rows // 14), float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        colour = np.array(((0.9, 0.2, 0.05), (0.05, 0.3, 0.95))[int(rng.integers(2))], np.float32)
        frames = frames * (1 - flow[..., None]) + colour * flow[..., None] * (0.4 + 0.6 * frames)
    return np.asarray(frames, dtype=np.float32)
