"""Planes beside the pixels: overlays, icons, pixel data in other places.

Text detection looks at Pixel Data alone, so whatever else can show text is removed here, or the instance is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from dicom_node.errors import Hold
from dicom_node.redaction.overlays import is_plane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset
    from pydicom.tag import BaseTag

_PIXEL_GROUPS = range(0x7F00, 0x8000)
"""Pixel Data, its retired forms (coefficients, Variable Pixel Data 7Fxx) and, odd, private groups named after it."""

_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and Pixel Data: looked at, or held, when their frames are opened."""

_ABOUT_PIXELS = frozenset({0x7FE00000, 0x7FE00001, 0x7FE00002, 0x7FE00003})
"""Group length, Extended Offset Table, its lengths, Encapsulated Pixel Data Value Total Length."""

_OVERLAY_GROUPS = range(0x6000, 0x6100)
_OVERLAY_WORDS = frozenset({0x0022, 0x1500})
"""Overlay Description and Overlay Label of planes that are kept: words about a plane can be about a person."""
_CURVE_GROUPS = range(0x5000, 0x5100)
_ICON_IMAGE_SEQUENCE = 0x00880200
_ENCAPSULATED_DOCUMENT = 0x00420011

_PIXEL_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_IMAGE_SIZED = 4096
"""Bytes from which a private binary element is taken for a picture: 64 by 64 pixels."""

_ITEM = b"\xfe\xff\x00\xe0"
_PIXEL_DATA_IN_BYTES = b"\xe0\x7f\x10\x00"

_CSA_HEADER = b"SV10"
"""How Siemens' private headers begin: large and binary, but tables of parameters that research depends on."""


def remove_planes(dataset: Dataset, *, overlays: bool = True) -> tuple[str, ...]:
    """Remove what text detection does not see.

    Overlays 6000-601E (PS3.3 C.9.2; unless :mod:`.overlays` has cleaned them), curves 5000-501E (retired), Icon Image
    Sequence (PS3.3 C.7.6.1.1.6) and pixel data in private elements go.

    Returns
    -------
    tuple of str
        What was done, in words without values.

    Raises
    ------
    Hold
        When pixel data stands nested in a standard sequence other than an icon or in a retired form, or when a
        document stands beside it.
    """
    # Only the planes of the instance itself were looked at: those in items of sequences go in any case.
    planned = (_removal(*place, overlays=overlays or place[0] is not dataset) for place in list(elements(dataset)))
    removed = [removal for removal in planned if removal]
    actions = tuple(sorted({_carry_out(*removal) for removal in removed}))
    for place, tag in elements(dataset):
        problem = _unseen(place, tag, nested=place is not dataset)
        if problem:
            raise Hold(problem)
    return actions


def elements(dataset: Dataset) -> Iterator[tuple[Dataset, BaseTag]]:
    """Walk every element of the data set and of the items of its sequences, without converting other values."""
    for tag in list(dataset.keys()):
        yield dataset, tag
        if vr_of(dataset, tag) == "SQ" and dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                yield from elements(item)


def vr_of(dataset: Dataset, tag: BaseTag) -> str:
    """Return the VR of an element as it stands, or that of the dictionaries where it has none.

    Its value is not converted: what is never converted is written back byte for byte, and cannot fail to be read.
    """
    vr = dataset.get_item(tag).VR
    if vr not in {None, "UN"}:
        return str(vr)
    try:
        if tag.is_private:
            return private_dictionary_VR(tag, str(dataset.get((tag.group, tag.element >> 8)).value))
        return dictionary_VR(tag)
    except (KeyError, AttributeError):  # in no dictionary; without a Private Creator
        return "UN"


def _unseen(dataset: Dataset, tag: BaseTag, *, nested: bool) -> str | None:
    """Say what text detection would not see, and is not removed either."""
    is_pixels = tag.group in _PIXEL_GROUPS and not tag.is_private and tag not in _ABOUT_PIXELS
    if is_pixels and nested:
        return "pixel data nested in a sequence: it would leave unseen"
    if is_pixels and tag not in _PIXEL_DATA:
        return "pixel data in a retired form"
    if tag == _ENCAPSULATED_DOCUMENT:
        return "an encapsulated document: no redactor for it"
    if not nested and tag in _PIXEL_DATA:
        return None
    return "pixel data nested in a sequence of unknown VR" if _is_packed_sequence(dataset, tag) else None


def _removal(dataset: Dataset, tag: BaseTag, *, overlays: bool) -> tuple[Dataset, BaseTag, str] | None:
    if tag.group in _OVERLAY_GROUPS and (overlays or not is_plane(dataset, tag.group)):
        return dataset, tag, "overlay removed"
    if tag.group in _OVERLAY_GROUPS and tag.element in _OVERLAY_WORDS:
        return dataset, tag, "overlay description removed"
    if tag.group in _CURVE_GROUPS:
        return dataset, tag, "curve removed"
    if tag == _ICON_IMAGE_SEQUENCE:
        return dataset, tag, "icon removed"
    if tag.is_private and _holds_pixels(dataset, tag):
        return dataset, tag, "private pixel data removed"
    return None


def _holds_pixels(dataset: Dataset, tag: BaseTag) -> bool:
    vr = vr_of(dataset, tag)
    if vr == "SQ" and dataset[tag].VR == "SQ":
        nested = (inner for item in dataset[tag].value for _, inner in elements(item))
        return any(inner.group in _PIXEL_GROUPS and inner not in _ABOUT_PIXELS for inner in nested)
    value = dataset.get_item(tag).value
    is_large = vr in _PIXEL_VRS and isinstance(value, bytes) and len(value) >= _IMAGE_SIZED
    return (is_large and not value.startswith(_CSA_HEADER)) or _is_packed_sequence(dataset, tag)


def _is_packed_sequence(dataset: Dataset, tag: BaseTag) -> bool:
    """Whether bytes of unknown VR are a sequence with pixel data in it (PS3.5 6.2.2, note 2)."""
    value = dataset.get_item(tag).value
    return isinstance(value, bytes) and value.startswith(_ITEM) and _PIXEL_DATA_IN_BYTES in value


def _carry_out(dataset: Dataset, tag: BaseTag, action: str) -> str:
    if tag in dataset:
        del dataset[tag]
    return action
