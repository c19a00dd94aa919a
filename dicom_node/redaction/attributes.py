"""What the header must say after the pixels were looked at (PS3.15 E.3.1, PS3.3 C.7.6.1 and C.12.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_node import __version__
from dicom_node.model import Outcome

if TYPE_CHECKING:
    from dicom_node.model import Redaction

_CLEAN_PIXEL_DATA = ("113101", "DCM", "Clean Pixel Data Option")
"""PS3.16 CID 7050."""

_BROKEN_BY_CHANGE = (
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "OriginalAttributesSequence",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
)
"""Statements about pixels or attributes that are no longer so; Original Attributes can hold what was removed."""

_DERIVATION = "Burned-in annotation and planes that can carry it removed from the pixel data"
_METHOD = f"dicom_node {__version__}: pixel data only, attributes as received"


def describe(dataset: Dataset, redaction: Redaction) -> None:
    """Write into the data set what was done to it.

    Burned In Annotation (0028,0301) becomes NO whatever it was. Patient Identity Removed (0012,0062) is left alone: the
    header is forwarded as it came, and the De-identification Method (0012,0063) says so.
    """
    dataset.BurnedInAnnotation = "NO"
    _add_method(dataset)
    if redaction.outcome is not Outcome.CLEANED:
        return
    for keyword in _BROKEN_BY_CHANGE:
        if keyword in dataset:
            delattr(dataset, keyword)
    if "PixelData" not in dataset:  # a document or a presentation state: no image, and derived from none
        return
    _add_derivation(dataset)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.get(groups) or ():
            _derive_frame_types(group)


def add_lossy_compression(dataset: Dataset, method: str, ratio: float) -> None:
    """Say that the pixel data went through one more lossy compression (PS3.3 C.7.6.1.1.5).

    Parameters
    ----------
    method : str
        Lossy Image Compression Method (0028,2114), a defined term.
    ratio : float
        Lossy Image Compression Ratio (0028,2112): bytes before to bytes after.
    """
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = [*_values(dataset, "LossyImageCompressionRatio"), f"{ratio:.4g}"]
    dataset.LossyImageCompressionMethod = [*_values(dataset, "LossyImageCompressionMethod"), method]


def _add_method(dataset: Dataset) -> None:
    methods = _values(dataset, "DeidentificationMethod")
    if _METHOD not in methods:
        dataset.DeidentificationMethod = [*methods, _METHOD]
    codes = dataset.get("DeidentificationMethodCodeSequence") or []
    if not any(item.get("CodeValue") == _CLEAN_PIXEL_DATA[0] for item in codes):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = _CLEAN_PIXEL_DATA
        dataset.DeidentificationMethodCodeSequence = Sequence([*codes, item])


def _add_derivation(dataset: Dataset) -> None:
    """Image Type value 1 and Derivation Description (PS3.3 C.7.6.1.1.2, C.7.6.1.1.3)."""
    values = _values(dataset, "ImageType")
    dataset.ImageType = ["DERIVED", *(values[1:] or ["PRIMARY"])]
    before = str(dataset.get("DerivationDescription") or "")
    if _DERIVATION not in before:
        dataset.DerivationDescription = f"{before}; {_DERIVATION}" if before else _DERIVATION


def _derive_frame_types(group: Dataset) -> None:
    """Frame Type value 1 says of a frame what Image Type says of an image (PS3.3 C.8.16.1)."""
    for element in group:
        for item in element.value if element.VR == "SQ" else ():
            types = _values(item, "FrameType")
            if types:
                item.FrameType = ["DERIVED", *types[1:]]


def _values(dataset: Dataset, keyword: str) -> list[str]:
    value = dataset.get(keyword)
    if not value:
        return []
    return list(value) if isinstance(value, (list, tuple, MultiValue)) else [value]
