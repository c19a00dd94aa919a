"""Instances without pixels of their own: documents and presentation states, where removing is asked for.

What is in them cannot be looked at by the text detector. By default they are held; a route can say that the document,
or the graphic annotation, goes, and the rest of the instance is forwarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import (
    BlendingSoftcopyPresentationStateStorage,
    ColorSoftcopyPresentationStateStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    PseudoColorSoftcopyPresentationStateStorage,
)

from dicom_node.errors import Hold
from dicom_node.redaction.planes import remove_planes

if TYPE_CHECKING:
    from pydicom import Dataset

_PRESENTATION_STATES = frozenset(
    {
        GrayscaleSoftcopyPresentationStateStorage,
        ColorSoftcopyPresentationStateStorage,
        PseudoColorSoftcopyPresentationStateStorage,
        BlendingSoftcopyPresentationStateStorage,
    }
)

_ANNOTATIONS = (
    "GraphicAnnotationSequence",
    "GraphicLayerSequence",
    "TextObjectSequence",
    "BitmapDisplayShutterSequence",
)
"""PS3.3 C.10.5, C.10.7, C.7.6.15."""

_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

_BLANK_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)
"""One empty page: Encapsulated Document (0042,0011) is of type 1, an instance without one is not valid."""


def clean_without_pixels(dataset: Dataset, *, documents: str, annotations: str) -> tuple[str, ...]:
    """Remove the document of an Encapsulated PDF, or the annotations of a presentation state, where that is asked for.

    Returns
    -------
    tuple of str
        What was done; nothing when the instance is of another kind, or is to be held.

    Raises
    ------
    Hold
        When it has pixel data, which nobody would look at.
    """
    sop_class = dataset.get("SOPClassUID")
    if sop_class == EncapsulatedPDFStorage and documents == "remove":
        actions = _without(dataset, ("EncapsulatedDocument",), "document replaced by an empty page")
        dataset.EncapsulatedDocument = _BLANK_PDF + b"\n" * (len(_BLANK_PDF) % 2)
        if "EncapsulatedDocumentLength" in dataset:
            dataset.EncapsulatedDocumentLength = len(_BLANK_PDF)
        return actions
    if sop_class in _PRESENTATION_STATES and annotations == "remove":
        return _without(dataset, _ANNOTATIONS, "graphic annotations removed")
    return ()


def _without(dataset: Dataset, keywords: tuple[str, ...], action: str) -> tuple[str, ...]:
    """Remove attributes, and all planes beside them; hold what the SOP Class does not let expect."""
    for keyword in keywords:
        if keyword in dataset:
            delattr(dataset, keyword)
    planes = remove_planes(dataset)
    if any(keyword in dataset for keyword in _PIXELS):
        msg = "pixel data in an instance of a kind that has none"
        raise Hold(msg)
    return (action, *planes)
