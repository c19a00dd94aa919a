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

UPRIGHT = 2.5
"""How many times higher than wide a box is whose line runs down."""


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


def cut_out(picture: Picture, box: Box) -> Picture:
    """Cut a box out, upright: lines that run down are turned to run right."""
    part = picture[box.row : box.row + box.height, box.column : box.column + box.width]
    return np.rot90(part, -1).copy() if box.height > UPRIGHT * box.width else part
