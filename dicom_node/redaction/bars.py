"""Bars of a barcode, read by nobody: many edges of one direction, at irregular distances, in rows that are alike.

Readers lose bars that are slanting, pale or light on dark. The limits below were set on made codes and on real images
without any (docs/decisions/0008-barcodes.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]

CELL = 8
"""Side, in pixels, of the squares in which edges are counted."""

EDGE = 32
"""Levels by which neighbours differ at an edge: a code of 30 % contrast has 76, half of them where it is turned."""

DENSE = 0.15
"""Part of the pixels that lie at an edge, in modules of 12 pixels."""

COHERENT = 0.75
"""How far the edges have one direction (0 to 1): in bars nearly all, in text about half."""

UNBALANCED = 0.1
"""How far edges may have one sense (0 to 1): light to dark, or dark to light. The edge of an organ has one."""

FEWEST_BARS = 22
"""Bars and spaces; the shortest codes have 30 to 43."""

ALIKE = 0.45
"""Part of the variance along rows that their mean has: in bars all of it."""

TWO_LEVELS = 0.62
"""Mean distance from the mean of that line, in standard deviations: of light and dark alone it is 1."""

IRREGULAR = 0.2
"""Part of the bars, and of the spaces, that differ in width from the next: in rulers, grids and line pairs few do."""


def in_cells(samples: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of each square of :data:`CELL` pixels."""
    rows, columns = (max(1, -(-side // CELL)) for side in samples.shape)
    padded = cv2.copyMakeBorder(
        samples, 0, rows * CELL - samples.shape[0], 0, columns * CELL - samples.shape[1], cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA))


def find_bars(part: Grey) -> Iterator[tuple[int, int, int, int]]:
    """Find bars, whichever way they are turned.

    Parameters
    ----------
    part : numpy.ndarray
        uint8, shape (rows, columns).

    Yields
    ------
    tuple of int
        Row, column, height and width of each place, in whole cells.
    """
    across, down = _differences(part)
    products = (across**2, down**2, across * down, across, down)
    xx, yy, xy, x, y = (cv2.blur(in_cells(product), (3, 3)) for product in products)
    energy = np.maximum(xx + yy, 1)
    one_way = np.hypot(xx - yy, 2 * xy) / energy
    both_senses = (x**2 + y**2) / energy
    barred = (one_way >= COHERENT) & (energy >= EDGE**2 * DENSE) & (both_senses <= UNBALANCED)
    count, labels = cv2.connectedComponents(barred.astype(np.uint8))
    for label in range(1, count):
        cells = labels == label
        angle = float(np.arctan2(2 * xy[cells].sum(), (xx - yy)[cells].sum())) / 2
        if _are_bars(_upright(part, cells, angle)):
            left, top, width, height = (side * CELL for side in cv2.boundingRect(cells.astype(np.uint8)))
            yield top, left, height, width


def _differences(part: Grey) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Differences of neighbours across and down: a wider filter does not see bars of one pixel."""
    samples = part.astype(np.float32)
    kernel = np.array([[-0.5, 0.5], [-0.5, 0.5]], np.float32)
    return cv2.filter2D(samples, -1, kernel), cv2.filter2D(samples, -1, kernel.T.copy())


def _upright(part: Grey, cells: NDArray[np.bool_], angle: float) -> Grey:
    """Cut out what the cells cover, turned so that bars are upright."""
    rows, columns = np.nonzero(cells)
    along = (columns + 0.5) * CELL * np.cos(angle) + (rows + 0.5) * CELL * np.sin(angle)
    upwards = (rows + 0.5) * CELL * np.cos(angle) - (columns + 0.5) * CELL * np.sin(angle)
    width, height = (round(float(np.ptp(values))) + CELL for values in (along, upwards))
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, sine, CELL / 2 - along.min()], [-sine, cosine, CELL / 2 - upwards.min()]])
    return np.asarray(cv2.warpAffine(part, matrix, (width, height), flags=cv2.INTER_LINEAR))


def _are_bars(upright: Grey) -> bool:
    """Whether the rows of a place are alike, and have bars and spaces of differing widths."""
    quarter = len(upright) // 4
    rows = upright[quarter : len(upright) - quarter].astype(np.float32)
    rows -= cv2.blur(rows, (4 * CELL + 1, 1))
    line = rows.mean(axis=0)
    widths = np.diff(np.flatnonzero(np.diff(line > 0)))
    if len(widths) < FEWEST_BARS or line.var() < ALIKE * rows.var(axis=1).mean():
        return False
    if np.abs(line).mean() < TWO_LEVELS * line.std():
        return False
    return all(np.mean(np.abs(np.diff(some)) > np.mean(some) / 4) >= IRREGULAR for some in (widths[::2], widths[1::2]))
