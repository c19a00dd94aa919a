"""Overlay planes that are kept: rasterised, looked at, and cleared where text stands (PS3.3 C.9.2).

By default :mod:`.planes` removes every overlay. Overlays that mark anatomy can be worth keeping; then their bits are
looked at as a picture of two colours, by the same detector and decision as the pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom.uid import ExplicitVRBigEndian

from dicom_node.errors import Hold
from dicom_node.model import Region
from dicom_node.redaction.look import boxes_that_go

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_node.redaction.decide import Decision
    from dicom_node.redaction.detect import TextDetector

_FIRST, _LAST, _STEP = 0x6000, 0x601E, 2
_ROWS, _COLUMNS, _FRAMES, _DATA = 0x0010, 0x0011, 0x0015, 0x3000


def redact_overlays(dataset: Dataset, decision: Decision, detector: TextDetector) -> tuple[Region, ...]:
    """Clear the bits of every overlay plane where text stands that has to go.

    Returns
    -------
    tuple of Region
        In rows and columns of the overlay, whose origin can differ from the image's; ``source`` is ``overlay``.

    Raises
    ------
    Hold
        When a plane contradicts its own size.
    """
    return tuple(
        region
        for group in range(_FIRST, _LAST + 1, _STEP)
        if is_plane(dataset, group)
        for region in _redact_plane(dataset, group, decision, detector)
    )


def is_plane(dataset: Dataset, group: int) -> bool:
    """Whether a group is an overlay plane with bits of its own, not in the unused bits of pixels (retired)."""
    return group in range(_FIRST, _LAST + 1, _STEP) and (group, _DATA) in dataset


def _redact_plane(dataset: Dataset, group: int, decision: Decision, detector: TextDetector) -> Iterator[Region]:
    bits = _bits(dataset, group)
    for index, plane in enumerate(bits):
        picture = np.repeat((plane * np.uint8(255))[..., None], 3, axis=2)
        for box, kind in boxes_that_go([picture], decision, detector).items():
            plane[box.row : box.row + box.height, box.column : box.column + box.width] = 0
            yield Region(*box, first_frame=index, last_frame=index, source="overlay", kind=kind)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    dataset[group, _DATA].value = _in_order(dataset, group, packed + b"\0" * (len(packed) % 2))


def _in_order(dataset: Dataset, group: int, content: bytes) -> bytes:
    """Swap the bytes of 16-bit big endian words (PS3.5 A.3): the first pixel stands in the lowest bit of a word."""
    is_swapped = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian and dataset[group, _DATA].VR == "OW"
    return np.frombuffer(content, np.uint16).byteswap().tobytes() if is_swapped else content


def _bits(dataset: Dataset, group: int) -> NDArray[np.uint8]:
    """Unpack a plane: shape (frames, rows, columns), one bit a pixel, the first in the lowest bit (PS3.5 8.1.2)."""
    try:
        rows, columns = int(dataset[group, _ROWS].value), int(dataset[group, _COLUMNS].value)
        frames = int(dataset[group, _FRAMES].value) if (group, _FRAMES) in dataset else 1
        content = np.frombuffer(_in_order(dataset, group, dataset[group, _DATA].value), np.uint8)
        count = frames * rows * columns
        if min(rows, columns, frames) < 1 or len(content) - -(-count // 8) not in {0, 1}:
            raise ValueError  # noqa: TRY301 - one reason for all of it
    except (KeyError, TypeError, ValueError):
        msg = "an overlay plane contradicts its own size"
        raise Hold(msg) from None
    return np.unpackbits(content, bitorder="little")[:count].reshape(frames, rows, columns)
