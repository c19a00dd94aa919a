"""Pictures to boxes with barcodes in them; what a code says is never looked at.

Where nothing is busy (dense with strong edges) there is no code, and most pictures have no such place. In busy places
zxing-cpp looks for codes of modules, readable or not, and bars are told by what they are: many edges in one
direction, at irregular distances (docs/decisions/0008-barcodes.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import zxingcpp

from dicom_node.redaction.bars import ALIKE, CELL, DENSE, EDGE, find_bars, in_cells
from dicom_node.redaction.boxes import Box, joined

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_node.redaction.render import Picture

    Grey = NDArray[np.uint8]

EXTENT = 17
STEEP = np.float32(0.6)
"""Part of the extent of a square of that side which an edge has within three pixels: in a code all, in speckle less."""

LEVEL = np.float32(0.3)
OF_LEVELS, OF_EACH = 0.45, 0.08
"""Share of the pixels that are within a third of the darkest or brightest around them: in a code most, in noise few."""

NEW = 0.3
"""Part of a busy place that was not busy in an earlier view; where less is new, that view has been looked at."""

SMALLEST = 32
SMALL = 256
"""Longest side of a place that is looked at in twice its size as well: modules of two pixels."""

MARGIN = 16
"""Pixels around a busy place that are looked at with it: a reader asks for a quiet zone."""

PADDING = 12

_MODULES = zxingcpp.BarcodeFormats(
    [
        zxingcpp.BarcodeFormat.QRCode,
        zxingcpp.BarcodeFormat.MicroQRCode,
        zxingcpp.BarcodeFormat.RMQRCode,
        zxingcpp.BarcodeFormat.DataMatrix,
        zxingcpp.BarcodeFormat.Aztec,
        zxingcpp.BarcodeFormat.PDF417,
    ]
)
_STACKED = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.PDF417])
_BARS = zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.AllLinear])


def find_barcodes(pictures: Sequence[Picture], painted: Collection[Box] = ()) -> list[Box]:
    """Find QR, Data Matrix, Aztec, PDF417 and bar codes.

    Parameters
    ----------
    pictures : sequence of numpy.ndarray
        uint8, shape (rows, columns, 3): views of the same place; a code in any sample of any of them is found.
    painted : collection of Box
        What goes anyway: busy places of which they leave nothing that is large enough for a code are not looked at.

    Returns
    -------
    list of Box
        Each with some of what is around the code.
    """
    rows, columns = (-(-side // CELL) for side in pictures[0].shape[:2])
    looked_at = np.zeros((rows, columns), np.bool_)
    gone = _whole_cells(painted, (rows, columns))
    found: list[Box] = []
    for view in _views(pictures):
        busy = _busy(view, gone)
        for place in _places(busy):
            cells = _cells(place)
            if _leaves_some(gone, busy, cells) and (busy & ~looked_at)[cells].sum() >= NEW * busy[cells].sum():
                found += _codes(view, _clipped(place, MARGIN, view.shape))
        looked_at |= busy
    return joined(found)


def _leaves_some(gone: NDArray[np.bool_], busy: NDArray[np.bool_], cells: tuple[slice, slice]) -> bool:
    """Whether what goes anyway leaves something of a place that is large enough for a code."""
    return any(_places((busy & ~gone)[cells]))


def _whole_cells(boxes: Collection[Box], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the cells that lie wholly inside a box."""
    inside = np.zeros(shape, np.bool_)
    for box in boxes:
        bottom, right = box.row + box.height, box.column + box.width
        inside[-(-box.row // CELL) : bottom // CELL, -(-box.column // CELL) : right // CELL] = True
    return inside


def _views(pictures: Sequence[Picture]) -> Iterator[Grey]:
    """List the samples of the pictures, without those in which no edge can be that is not in the one before."""
    before = None
    for picture in pictures:
        for view in _without_mean(*cv2.split(picture)):
            if before is None or cv2.norm(view, before, cv2.NORM_INF) >= EDGE // 2:
                yield view
                before = view


def _without_mean(first: Grey, second: Grey, third: Grey) -> tuple[Grey, ...]:
    """Leave a sample out that is the mean of the others: it has no edge that neither of them has."""
    is_mean = cv2.norm(cv2.addWeighted(first, 0.5, second, 0.5, 0), third, cv2.NORM_INF) <= 1
    return (first, second) if is_mean else (first, second, third)


def _busy(view: Grey, gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells that are dense with edges that are steep for what is around them, of places that do not go."""
    steps = cv2.morphologyEx(view, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    dense = _are_dense(steps >= EDGE)
    busy = np.zeros_like(dense)
    for place in _places(dense):
        if not _leaves_some(gone, dense, _cells(place)):
            continue
        around = _clipped(place, MARGIN, view.shape)
        part = _pixels(around)
        lowest, highest = (morph(view[part], np.ones((EXTENT, EXTENT), np.uint8)) for morph in (cv2.erode, cv2.dilate))
        extent = highest - lowest
        is_steep = _are_dense(steps[part] >= np.maximum(extent * STEEP, EDGE))
        busy[_cells(around)] |= is_steep & _are_of_two_levels(view[part], lowest, highest)
    return busy


def _are_of_two_levels(view: Grey, lowest: Grey, highest: Grey) -> NDArray[np.bool_]:
    """Return the cells whose pixels are nearly all dark or bright for what is around them, and some are each."""
    level = (highest - lowest) * LEVEL
    dark, bright = (
        cv2.blur(in_cells(near.view(np.uint8) * 255), (3, 3)).astype(np.int32)
        for near in (view <= lowest + level, view >= highest - level)
    )
    return np.asarray((dark + bright >= OF_LEVELS * 255) & (np.minimum(dark, bright) >= OF_EACH * 255))


def _pixels(box: Box) -> tuple[slice, slice]:
    return slice(box.row, box.row + box.height), slice(box.column, box.column + box.width)


def _cells(box: Box) -> tuple[slice, slice]:
    return (
        slice(box.row // CELL, -(-(box.row + box.height) // CELL)),
        slice(box.column // CELL, -(-(box.column + box.width) // CELL)),
    )


def _are_dense(edges: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the cells with many pixels at an edge, in themselves and around them; contours are too thin for that."""
    dense = cv2.blur(in_cells(edges.view(np.uint8) * 255), (3, 3)) >= DENSE * 255
    opened = cv2.morphologyEx(dense.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return np.asarray(opened.view(np.bool_))


def _places(cells: NDArray[np.bool_]) -> Iterator[Box]:
    """Return the bounding boxes, in pixels, of what is connected and large enough for a code."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(cells.view(np.uint8))
    for label in range(1, count):
        left, top, width, height, _area = (int(number) * CELL for number in stats[label])
        if min(height, width) > CELL and max(height, width) >= SMALLEST:
            yield Box(top, left, height, width)


def _codes(view: Grey, place: Box) -> Iterator[Box]:
    part = view[_pixels(place)]
    for box in (*_modules(part), *_read_bars(part), *(Box(*bars) for bars in find_bars(part))):
        moved = box._replace(row=box.row + place.row, column=box.column + place.column)
        yield _clipped(moved, PADDING, view.shape)


def _modules(part: Grey) -> Iterator[Box]:
    """Find codes of modules, those as well that cannot be read."""
    smooth = cv2.GaussianBlur(part, (0, 0), 0.7)
    for code in _codes_in(smooth, _MODULES, return_errors=True):
        if code.valid or code.format != zxingcpp.BarcodeFormat.DataMatrix:
            yield _around(_corners(code))
    for code in _codes_in(255 - smooth, _STACKED, return_errors=True):
        yield _around(_corners(code))
    if max(part.shape) <= SMALL:
        doubled = cv2.resize(part, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        for code in _codes_in(doubled, _MODULES):
            yield _around(_corners(code) / 2)


def _codes_in(image: Grey, formats: zxingcpp.BarcodeFormats, *, return_errors: bool = False) -> list[zxingcpp.Barcode]:
    return zxingcpp.read_barcodes(image, formats, try_downscale=False, return_errors=return_errors)


def _corners(code: zxingcpp.Barcode) -> NDArray[np.float64]:
    """Return the corners as (column, row), shape (4, 2), from the top left on around the code."""
    names = ("top_left", "top_right", "bottom_right", "bottom_left")
    corners = [getattr(code.position, name) for name in names]
    return np.array([(corner.x, corner.y) for corner in corners], np.float64)


def _read_bars(part: Grey) -> Iterator[Box]:
    """Find bars that can be read: of those the corners are the ends of a line across."""
    for image in (part, 255 - part):
        for code in _codes_in(image, _BARS):
            start, end, _, _ = _corners(code)
            yield _around(_grown(part, start, end))


def _grown(part: Grey, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners of what is alike a line across bars, along them to both sides."""
    length = max(1.0, float(np.hypot(*(end - start))))
    across = (end - start) / length
    along = np.array((-across[1], across[0]))
    reach = max(part.shape)
    matrix = np.stack([np.append(across, -across @ start), np.append(along, reach - along @ start)])
    rows = cv2.warpAffine(part, matrix, (round(length), 2 * reach + 1)).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    products = rows @ rows[reach]
    other = products < ALIKE * np.linalg.norm(rows, axis=1) * np.linalg.norm(rows[reach])
    before, after = np.flatnonzero(other[:reach]), np.flatnonzero(other[reach:])
    up, down = reach - int(before.max(initial=0)), int(after.min(initial=reach))
    return np.array([point + step * along for point in (start, end) for step in (-up, down)])


def _around(points: NDArray[np.float64]) -> Box:
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return Box(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)


def _clipped(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    top, left = max(0, box.row - margin), max(0, box.column - margin)
    bottom, right = min(shape[0], box.row + box.height + margin), min(shape[1], box.column + box.width + margin)
    return Box(top, left, bottom - top, right - left)
