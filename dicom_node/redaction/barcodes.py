"""Pictures to boxes with barcodes in them; what a code says is never looked at.

Where nothing is busy (dense with strong edges) there is no code, and most pictures have no such place. In busy places
zxing-cpp looks for codes of modules, readable or not, and bars are told by what they are: many edges in one
direction, at irregular distances (docs/decisions/0008-barcodes.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import zxingcpp

from dicom_node.redaction.detect import Box, without_contained

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_node.redaction.render import Picture

    Grey = NDArray[np.uint8]

CELL = 8
"""Side, in pixels, of the squares in which edges are counted."""

EDGE = 32
"""Levels by which neighbours differ at an edge: a code of 30 % contrast has 76, half of them where it is turned."""

DENSE = 0.15
"""Part of the pixels that lie at an edge, in modules of 12 pixels."""

EXTENT = 17
"""Side of the square of whose extent an edge has half within three pixels: in a code all of it, in speckle less."""

NEW = 0.3
"""Part of a busy place that was not busy in an earlier view; where less is new, that view has been looked at."""

SMALLEST = 32
MARGIN = 16
"""Pixels around a busy place that are looked at with it: a reader asks for a quiet zone."""

COHERENT = 0.75
"""How far the edges have one direction (0 to 1): in bars nearly all, in text about half."""

FEWEST_BARS = 24
"""Bars and spaces; the shortest codes have 30 to 43."""

UNBALANCED = 0.1
"""How far edges may have one sense (0 to 1): light to dark, or dark to light. The edge of an organ has one."""

ALIKE = 0.45
"""Part of the variance along rows that their mean has: in bars all of it."""

TWO_LEVELS = 0.68
"""Mean distance from the mean of that line, in standard deviations: of light and dark alone it is 1."""

IRREGULAR = 0.2
"""Part of the bars, and of the spaces, that differ in width from the next: in rulers, grids and line pairs few do."""

PADDING = 12

_FORMATS = zxingcpp.BarcodeFormats(
    [
        zxingcpp.BarcodeFormat.QRCode,
        zxingcpp.BarcodeFormat.MicroQRCode,
        zxingcpp.BarcodeFormat.RMQRCode,
        zxingcpp.BarcodeFormat.DataMatrix,
        zxingcpp.BarcodeFormat.Aztec,
        zxingcpp.BarcodeFormat.PDF417,
    ]
)
_INVERTED = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.PDF417])


def find_barcodes(pictures: Sequence[Picture]) -> list[Box]:
    """Find QR, Data Matrix, Aztec, PDF417 and bar codes.

    Parameters
    ----------
    pictures : sequence of numpy.ndarray
        uint8, shape (rows, columns, 3): views of the same place; a code in any sample of any of them is found.

    Returns
    -------
    list of Box
        Each with some of what is around the code.
    """
    rows, columns = (-(-side // CELL) for side in pictures[0].shape[:2])
    looked_at = np.zeros((rows, columns), np.bool_)
    found: list[Box] = []
    for view in _views(pictures):
        busy = _busy(view)
        for place in _places(busy):
            cells = _cells(place)
            if (busy & ~looked_at)[cells].sum() >= NEW * busy[cells].sum():
                found += _codes(view, _clipped(place, MARGIN, view.shape))
        looked_at |= busy
    return without_contained(found)


def _views(pictures: Sequence[Picture]) -> Iterator[Grey]:
    """List the samples of the pictures that differ from the one before: those of grey pictures often do not."""
    before = None
    for picture in pictures:
        for view in cv2.split(picture):
            if before is None or not np.array_equal(view, before):
                yield view
            before = view


def _busy(view: Grey) -> NDArray[np.bool_]:
    """Return the cells that are dense with edges that are steep for what is around them."""
    steps = cv2.morphologyEx(view, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    dense = _are_dense(steps >= EDGE)
    busy = np.zeros_like(dense)
    for place in _places(dense):
        around = _clipped(place, MARGIN, view.shape)
        part = _pixels(around)
        extent = cv2.morphologyEx(view[part], cv2.MORPH_GRADIENT, np.ones((EXTENT, EXTENT), np.uint8))
        busy[_cells(around)] |= _are_dense(steps[part] >= np.maximum(extent // 2, EDGE))
    return busy


def _pixels(box: Box) -> tuple[slice, slice]:
    return slice(box.row, box.row + box.height), slice(box.column, box.column + box.width)


def _cells(box: Box) -> tuple[slice, slice]:
    return (
        slice(box.row // CELL, -(-(box.row + box.height) // CELL)),
        slice(box.column // CELL, -(-(box.column + box.width) // CELL)),
    )


def _are_dense(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells with, in themselves and around them, many pixels at an edge."""
    return np.asarray(cv2.blur(_in_cells(edges.view(np.uint8) * 255), (3, 3)) >= DENSE * 255)


def _in_cells(samples: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of each square of :data:`CELL` pixels."""
    rows, columns = (max(1, -(-side // CELL)) for side in samples.shape)
    padded = cv2.copyMakeBorder(
        samples, 0, rows * CELL - samples.shape[0], 0, columns * CELL - samples.shape[1], cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.resize(padded, (columns, rows), interpolation=cv2.INTER_AREA))


def _places(cells: NDArray[np.bool_]) -> Iterator[Box]:
    """Return the bounding boxes, in pixels, of what is connected and large enough for a code."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(cells.view(np.uint8))
    for label in range(1, count):
        left, top, width, height, _area = (int(number) * CELL for number in stats[label])
        if min(height, width) > CELL and max(height, width) >= SMALLEST:
            yield Box(top, left, height, width)


def _codes(view: Grey, place: Box) -> Iterator[Box]:
    part = view[_pixels(place)]
    for box in (*_modules(part), *_bars(part)):
        moved = box._replace(row=box.row + place.row, column=box.column + place.column)
        yield _clipped(moved, PADDING, view.shape)


def _modules(part: Grey) -> Iterator[Box]:
    """Find codes of modules, those as well that cannot be read."""
    smooth = cv2.GaussianBlur(part, (0, 0), 0.7)
    for image, formats in ((smooth, _FORMATS), (255 - smooth, _INVERTED)):
        for code in zxingcpp.read_barcodes(image, formats, return_errors=True):
            corners = (getattr(code.position, name) for name in ("top_left", "top_right", "bottom_right", "bottom_left"))
            if code.valid or code.format != zxingcpp.BarcodeFormat.DataMatrix:
                yield _around([(corner.x, corner.y) for corner in corners])


def _around(points: list[tuple[int, int]]) -> Box:
    (left, top), (right, bottom) = np.min(points, axis=0), np.max(points, axis=0)
    return Box(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)


def _bars(part: Grey) -> Iterator[Box]:
    """Find bars: edges of one direction, at irregular distances."""
    across, down = _differences(part)
    products = (across**2, down**2, across * down, across, down)
    xx, yy, xy, x, y = (cv2.blur(_in_cells(product), (3, 3)) for product in products)
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
            yield Box(top, left, height, width)


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


def _clipped(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    top, left = max(0, box.row - margin), max(0, box.column - margin)
    bottom, right = min(shape[0], box.row + box.height + margin), min(shape[1], box.column + box.width + margin)
    return Box(top, left, bottom - top, right - left)
