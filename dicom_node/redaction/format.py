"""What the Image Pixel module says (PS3.3 C.7.6.3), validated once: what does not add up is held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    MPEGTransferSyntaxes,
    RLELossless,
)

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
    "YBR_PARTIAL_420": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
"""Samples per Pixel of each Photometric Interpretation that can be redacted (PS3.3 C.7.6.3.1.2)."""

DEPTHS = frozenset({1, 8, 16, 32})

_OF_JPEG_2000 = frozenset({"YBR_ICT", "YBR_RCT"})
"""Colour transforms that stand in a JPEG 2000 codestream and nowhere else (PS3.3 C.7.6.3.1.2)."""


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
        signed=_either(dataset, "PixelRepresentation"),
        photometric_interpretation=str(dataset.get("PhotometricInterpretation", "")),
        planar_configuration=int(_either(dataset, "PlanarConfiguration")),
        frames=_number(dataset, "NumberOfFrames", default=1),
    )
    _check(pixels)
    return pixels


def _number(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    try:
        value = dataset.get(keyword)
        return default if value is None and default is not None else int(value)
    except Exception:  # noqa: BLE001 - whatever pydicom raises for bytes that are no number, and int() for no value
        msg = f"{keyword} is missing or is not one number"
        raise Hold(msg) from None


def _either(dataset: Dataset, keyword: str) -> bool:
    """Read an attribute that is 0 or 1, absent meaning 0."""
    value = _number(dataset, keyword, default=0)
    if value not in {0, 1}:
        msg = f"{keyword} is neither 0 nor 1"
        raise Hold(msg)
    return value == 1


def _check(pixels: PixelFormat) -> None:
    problem = _contradiction_in_size(pixels) or _contradiction_in_colour(pixels)
    if problem:
        raise Hold(problem)


def _contradiction_in_size(pixels: PixelFormat) -> str | None:
    if min(pixels.rows, pixels.columns, pixels.frames) < 1:
        return "Rows, Columns or Number of Frames is 0"
    if pixels.bits_allocated not in DEPTHS or not 1 <= pixels.bits_stored <= pixels.bits_allocated:
        return f"Bits Allocated {pixels.bits_allocated} with Bits Stored {pixels.bits_stored} cannot be redacted"
    if not pixels.bits_stored - 1 <= pixels.high_bit < pixels.bits_allocated:
        return "High Bit contradicts Bits Stored and Bits Allocated"
    if pixels.high_bit != pixels.bits_stored - 1 and not (pixels.is_native or pixels.transfer_syntax == RLELossless):
        return "High Bit asks for a shift of samples that stand in a codestream"
    return None


def _contradiction_in_colour(pixels: PixelFormat) -> str | None:
    if SAMPLES.get(pixels.photometric_interpretation) != pixels.samples:
        return "Photometric Interpretation and Samples per Pixel are no combination that can be redacted"
    is_transformed = pixels.photometric_interpretation in _OF_JPEG_2000
    if is_transformed and pixels.transfer_syntax not in JPEG2000TransferSyntaxes:
        return "the Photometric Interpretation is one of JPEG 2000, the transfer syntax is not"
    is_video = pixels.transfer_syntax in MPEGTransferSyntaxes
    if (pixels.photometric_interpretation == "YBR_PARTIAL_420") != is_video:
        return "YBR_PARTIAL_420 and video belong together"
    if pixels.samples > 1 and (pixels.bits_allocated == 1 or pixels.signed):
        return "colour of one bit a sample, or with a sign, cannot be redacted"
    if pixels.is_subsampled and (pixels.columns % 2 or pixels.planar_configuration):
        return "YBR_FULL_422 needs an even number of columns and colour by pixel"
    return None
