"""What a box says: readings, and the picture of a line as a recogniser takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rapidfuzz import fuzz

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.redaction.boxes import Box
    from dicom_node.redaction.render import Picture

CLEAR = 0.6
ALIKE = 60.0
"""Readings with this confidence that are less similar than this, in percent, contradict each other."""

UPRIGHT = 1.3
"""How many times higher than wide a box is whose line may run down, or up."""

INSET = 0.08
CLOSE = 0.15
"""Of a box's shorter side: so much of its padding is left out above and below, when it is read, and when read again."""

INSET_AT_ENDS = 0.15
"""The same before and behind a line; a recogniser wants a line that fills its picture."""


class Reading(NamedTuple):
    """What a box says, and how sure that is (0 to 1)."""

    text: str
    confidence: float


def surest(readings: Sequence[Reading]) -> Reading:
    """Return the reading to go by, without confidence where views say different things: one may hide another."""
    best = max(readings, key=lambda reading: reading.confidence)
    legible = (reading for reading in readings if reading.confidence >= CLEAR)
    if any(fuzz.ratio(best.text, reading.text) < ALIKE for reading in legible):
        return best._replace(confidence=0.0)
    return best


def longest(readings: Sequence[Reading]) -> Reading:
    """Return the reading of a line that says most, of those of its turns: the wrong way round it says little."""
    return max(readings, key=lambda reading: reading.confidence * sum(map(str.isalnum, reading.text)))


def turns(picture: Picture, box: Box, inset: float = INSET) -> list[Picture]:
    """Cut a line out, upright: as it stands, and turned to both sides where it may run down or up."""
    may_be_turned = box.height > UPRIGHT * box.width
    across, along = (round(part * min(box.height, box.width)) for part in (inset, INSET_AT_ENDS))
    down, sideways = (along, across) if may_be_turned else (across, along)
    rows, columns = picture.shape[:2]
    part = picture[_without(down, box.row, box.height, rows), _without(sideways, box.column, box.width, columns)]
    return [np.rot90(part, -1).copy(), np.rot90(part, 1).copy()] if may_be_turned else [part]


def _without(inset: int, first: int, length: int, most: int) -> slice:
    """Leave padding out at both ends; there is none where the picture ends."""
    last = first + length
    return slice(first + inset if first > 0 else first, last - inset if last < most else last)
