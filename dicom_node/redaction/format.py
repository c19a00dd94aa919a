"""What the Image Pixel module says (PS3.3 C.7.6.3), validated once: what does not add up is held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import Hold

if TYPE_CHECKING:
    from pydicom import Dataset

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
"""Transfer syntaxes whose pixel data stands uncompressed in Pixel Data (7FE0,0010)."""

SAMPLES = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
"""Samples per Pixel of each Photometric Interpretation that can be redacted (PS3.3 C.7.6.3.1.2)."""

DEPTHS = frozenset({1, 8, 16, 32})


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the stored values of an instance are laid out (names of PS3.3 C.7.6.3)."""

    transfer_syntax: UID
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric_interpretation: str
    planar_configuration: int
    frames: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one frame: (rows, columns) or (rows, columns, samples)."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def is_native(self) -> bool:
        """Whether the pixel data is uncompressed."""
        return self.transfer_syntax in NATIVE

    @property
    def is_subsampled(self) -> bool:
        """Whether two neighbouring pixels share their chrominance in the stored values (native YBR_FULL_422)."""
        return self.is_native and self.photometric_interpretation == "YBR_FULL_422"

    @property
    def lowest(self) -> int:
        """The smallest value that Bits Stored can hold."""
        return -(1 << (self.bits_stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest value that Bits Stored can hold."""
        return (1 << (self.bits_stored - (1 if self.signed else 0))) - 1


def pixel_format(dataset: Dataset) -> PixelFormat:
    """Read and check the Image Pixel module.

    Raises
    ------
    Hold
        When an attribute is missing, has no number in it, or contradicts another.
    """
    pixels = PixelFormat(
        transfer_syntax=UID(dataset.file_meta.TransferSyntaxUID),
        rows=_number(dataset, "Rows"),
        columns=_number(dataset, "Columns"),
        samples=_number(dataset, "SamplesPerPixel"),
        bits_allocated=_number(dataset, "BitsAllocated"),
        bits_stored=_number(dataset, "BitsStored"),
        high_bit=_number(dataset, "HighBit", default=_number(dataset, "BitsStored") - 1),
        signed=_number(dataset, "PixelRepresentation", default=0) == 1,
        photometric_interpretation=str(dataset.get("PhotometricInterpretation", "")),
        planar_configuration=_number(dataset, "PlanarConfiguration", default=0),
        frames=_number(dataset, "NumberOfFrames", default=1),
    )
    _check(pixels)
    return pixels


def _number(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = dataset.get(keyword)
    if value is None and default is not None:
        return default
    try:
        return int(value)  # type: ignore[arg-type]  # None and text end in the except
    except (TypeError, ValueError):
        msg = f"{keyword} is missing or is not one number"
        raise Hold(msg) from None


def _check(pixels: PixelFormat) -> None:
    if SAMPLES.get(pixels.photometric_interpretation) != pixels.samples:
        msg = "Photometric Interpretation and Samples per Pixel are no combination that can be redacted"
        raise Hold(msg)
    if min(pixels.rows, pixels.columns, pixels.frames) < 1:
        msg = "Rows, Columns or Number of Frames is 0"
        raise Hold(msg)
    if pixels.bits_allocated not in DEPTHS or not 1 <= pixels.bits_stored <= pixels.bits_allocated:
        msg = f"Bits Allocated {pixels.bits_allocated} with Bits Stored {pixels.bits_stored} cannot be redacted"
        raise Hold(msg)
    if not pixels.bits_stored - 1 <= pixels.high_bit < pixels.bits_allocated:
        msg = "High Bit contradicts Bits Stored and Bits Allocated"
        raise Hold(msg)
    if pixels.bits_allocated == 1 and pixels.samples != 1:
        msg = "colour of one bit a sample cannot be redacted"
        raise Hold(msg)
    if pixels.is_subsampled and (pixels.columns % 2 or pixels.planar_configuration or pixels.bits_allocated == 1):
        msg = "YBR_FULL_422 needs an even number of columns and colour by pixel"
        raise Hold(msg)
