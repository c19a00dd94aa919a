"""Small images with made-up identity burned in, and what is looked at where they arrive."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydicom import dcmread

from tests.support.images import copy_of, pydicom_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

ROWS, COLUMNS = 128, 256
GROUND, INK = 40, 230
_LINES = ((24, "DOE^JANE 056Y"), (48, "MRN 4711-0815"))
"""Baseline and text of each line."""

_HIGH = 10
_BELOW = 72
"""The first row that no identity comes near."""


def burned_in(target: Path) -> Path:
    """Write an image that is an instance of its own, and says on its pixels whose it is."""
    eight_bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    shown = {"WindowCenter": 128, "WindowWidth": 256, "RescaleIntercept": 0, "RescaleSlope": 1}
    shape = {"Rows": ROWS, "Columns": COLUMNS, "PixelData": _identity().tobytes()}
    return copy_of(pydicom_file("MR_small.dcm"), target, **eight_bits, **shown, **shape)


def is_clean(path: Path) -> bool:
    """Tell whether no ink of the identity is left, and nothing else was touched."""
    stored, identity = pixels(dcmread(path)), _identity()
    is_ink = identity != GROUND
    is_ink[_BELOW:] = False
    untouched = np.array_equal(stored[_BELOW:], identity[_BELOW:])
    return untouched and not np.isin(stored[is_ink], identity[is_ink]).any()


def identity_stays(stored: bytes) -> bool:
    """Tell whether a line of the identity can still be read where it was, whatever the header says of the pixels.

    Ink alone says nothing: a box may be filled with its value.
    """
    if len(stored) < ROWS * COLUMNS:
        return False
    left, identity = np.frombuffer(stored, np.uint8)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS), _identity()
    for row, _ in _LINES:
        columns = np.flatnonzero((identity[row - _HIGH : row + 1] != GROUND).any(axis=0))
        line = slice(row - _HIGH, row + 1), slice(columns[0], columns[-1] + 1)
        is_ink = identity[line] != GROUND
        if np.ptp(left[line]) and (left[line][is_ink] == identity[line][is_ink]).any():
            return True
    return False


def pixels(dataset: Dataset) -> NDArray[np.uint8]:
    """Return the stored values: shape (rows, columns)."""
    return np.frombuffer(dataset.PixelData, np.uint8)[: ROWS * COLUMNS].reshape(ROWS, COLUMNS)


@cache
def _identity() -> NDArray[np.uint8]:
    picture = np.full((ROWS, COLUMNS), GROUND, np.uint8)
    for row, text in _LINES:
        cv2.putText(picture, text, (12, row), cv2.FONT_HERSHEY_SIMPLEX, 0.55, INK, 1, cv2.LINE_8)
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
    is_organ = np.hypot((columns - 128) / 60, (rows - 100) / 20) < 1
    picture[is_organ] = GROUND + 50 + (columns[is_organ] % 7)
    return picture
