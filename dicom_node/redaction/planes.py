"""Planes beside the pixels: overlays, icons, pixel data in other places.

Text detection looks at Pixel Data alone, so whatever else can show text is removed here, or the instance is held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.errors import Hold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydicom import Dataset
    from pydicom.tag import BaseTag

_PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
"""Float, Double Float and Pixel Data."""

_PIXEL_VRS = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
_IMAGE_SIZED = 4096
"""Bytes from which a private binary element is taken for a picture: 64 by 64 pixels."""

_CSA_HEADER = b"SV10"
"""How Siemens' private headers begin: large and binary, but tables of parameters that research depends on."""


def remove_planes(dataset: Dataset) -> tuple[str, ...]:
    """Remove what text detection does not see.

    Overlays 6000-601E (PS3.3 C.9.2), curves 5000-501E (retired), Icon Image Sequence (PS3.3 C.7.6.1.1.6) and pixel data
    in private elements go.

    Returns
    -------
    tuple of str
        What was done, in words without values.

    Raises
    ------
    Hold
        When pixel data stands nested in a standard sequence other than an icon.
    """
    removed = [action for action in map(_removal, list(_elements(dataset))) if action]
    actions = tuple(sorted({_carry_out(*removal) for removal in removed}))
    if any(tag in _PIXEL_TAGS for place, tag in _elements(dataset) if place is not dataset):
        msg = "pixel data nested in a sequence: it would leave unseen"
        raise Hold(msg)
    return actions


def _elements(dataset: Dataset) -> Iterator[tuple[Dataset, BaseTag]]:
    """Walk every element of the data set and of the items of its sequences."""
    for tag in list(dataset.keys()):
        yield dataset, tag
        element = dataset.get_item(tag)
        if element is not None and (element.VR in {"SQ", "UN", None} or tag.is_private):
            value = dataset[tag].value if dataset[tag].VR == "SQ" else ()
            for item in value:
                yield from _elements(item)


def _removal(place: tuple[Dataset, BaseTag]) -> tuple[Dataset, BaseTag, str] | None:
    dataset, tag = place
    if 0x6000 <= tag.group <= 0x60FF:
        return dataset, tag, "overlay removed"
    if 0x5000 <= tag.group <= 0x50FF:
        return dataset, tag, "curve removed"
    if tag == 0x00880200:
        return dataset, tag, "icon removed"
    if tag.is_private and _holds_pixels(dataset, tag):
        return dataset, tag, "private pixel data removed"
    return None


def _holds_pixels(dataset: Dataset, tag: BaseTag) -> bool:
    element = dataset[tag]
    if element.VR == "SQ":
        return any(inner in _PIXEL_TAGS for item in element.value for _, inner in _elements(item))
    value = element.value
    is_large = element.VR in _PIXEL_VRS and isinstance(value, bytes) and len(value) >= _IMAGE_SIZED
    return is_large and not value.startswith(_CSA_HEADER)


def _carry_out(dataset: Dataset, tag: BaseTag, action: str) -> str:
    if tag in dataset:
        del dataset[tag]
    return action
