"""Rectangles in a picture: where to look, and what a probability map says."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    Map = np.ndarray[Any, np.dtype[np.float32]]

LONG_SIDE = 1100
TILE = 640
OVERLAP = 80

SHRUNK = 0.2
"""Of the height of a line, above and below: by so much the detectors are trained to mark it narrower than it is."""

PAD_HEIGHT = 0.15
PAD_WIDTH = 0.5
"""Of the height of a line, beyond what was found."""

CUT = PAD_HEIGHT / (1 + 2 * PAD_HEIGHT)
"""Of a padded box's height: its padding above, or below."""

SMALLEST_SIDE = 2

SAME = 0.8
"""Part of a box from which it stands for the same as another that it lies in."""

TALLEST = 130
"""Height of the highest lines that the networks were trained on, in pixels of the map: what is higher is no line."""

SMALL, TALL = 16, 64
"""Heights of lines, in pixels of the picture, between which more is asked of a higher one."""


LONE = 1.5
"""Length of one or two letters, in heights of their line."""

ROW = 0.6
"""Part of the higher one's height that a mark and a line beside it have in common."""


class Box(NamedTuple):
    """A rectangle in one picture, in pixels."""

    row: int
    column: int
    height: int
    width: int


class Marking(NamedTuple):
    """What of a map is text.

    Attributes
    ----------
    pixel : float
        Probability above which a pixel is marked.
    small, tall : float
        Mean probability from which what is marked is a line, for lines of up to ``SMALL`` and from ``TALL`` pixels: of
        large letters the detectors are surer, and organs, screws and plates are as large.
    lone : float
        The same for what is no longer than one or two letters, where that is less: a mark that is none costs little.
    beside : float
        The same for what stands beside a line, and is as high.
    doubtful : float
        The same up to which a line has to be read as well, where somebody can say so.
    """

    pixel: float = 0.3
    small: float = 0.5
    tall: float = 0.7
    lone: float = 1.0
    beside: float = 0.4
    doubtful: float = 0.0

    def least(self, height: float, length: float) -> float:
        """Return the mean probability that a line of this height and length has to have."""
        least = float(np.interp(height, (SMALL, TALL), (self.small, self.tall)))
        return min(least, self.lone) if length <= LONE * height else least


def tiles(area: Box) -> Iterator[Box]:
    """Divide a large area into overlapping tiles; a small one is looked at whole."""
    if max(area.height, area.width) <= LONG_SIDE:
        yield area
        return
    for row, column in itertools.product(_starts(area.height), _starts(area.width)):
        yield Box(area.row + row, area.column + column, min(TILE, area.height - row), min(TILE, area.width - column))


def _starts(length: int) -> list[int]:
    if length <= TILE:
        return [0]
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    return [round(i * (length - TILE) / (count - 1)) for i in range(count)]


def boxes_in(
    probability: Map, marking: Marking, scale: float = 1.0, is_read: Callable[[Box], bool] | None = None
) -> Iterator[Box]:
    """Turn a probability map into padded boxes (differentiable binarisation: Liao et al., AAAI 2020).

    Parameters
    ----------
    probability : numpy.ndarray
        float32, 0 to 1, shape (rows, columns).
    scale : float
        How many pixels of the map a pixel of the picture has.
    is_read : callable
        Says of a doubtful line, by its box in the picture, whether it can be read. Without it, all lines are text.
    """
    lines: list[_Found] = []
    marks: list[_Found] = []
    for found in _marked(probability, marking.pixel):
        size = found.line / scale
        is_sure = found.mean >= marking.least(size, max(found.place.width, found.place.height) / scale)
        if is_sure and is_read and found.mean < marking.doubtful:
            is_sure = is_read(_around(found.place, found.line, scale))
        if found.line <= TALLEST and (is_sure or found.mean >= marking.beside):
            (lines if is_sure else marks).append(found)
    lines += [mark for mark in marks if any(_stands_beside(mark.place, line.place) for line in lines)]
    yield from (_around(found.place, found.line, scale) for found in lines)


class _Found(NamedTuple):
    """What hangs together in a map: its place, the height of its line and its mean probability."""

    place: Box
    line: float
    mean: float


def _marked(probability: Map, pixel: float) -> Iterator[_Found]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > pixel).astype(np.uint8))
    for label in range(1, count):
        left, top, width, height, _area = (int(number) for number in stats[label])
        if min(width, height) < SMALLEST_SIDE:
            continue
        place = (slice(top, top + height), slice(left, left + width))
        inside = labels[place] == label
        line = _thickness(inside) / (1 - 2 * SHRUNK)
        yield _Found(Box(top, left, height, width), line, float(probability[place][inside].mean()))


def _stands_beside(mark: Box, line: Box) -> bool:
    """Whether a mark is about as high as a line, and stands in its row (in its column, where that is turned)."""
    if line.height > line.width:
        mark, line = (Box(box.column, box.row, box.width, box.height) for box in (mark, line))
    overlap = min(mark.row + mark.height, line.row + line.height) - max(mark.row, line.row)
    return overlap >= ROW * max(mark.height, line.height)


def _thickness(inside: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """Return how thick a component is, whichever way its line runs."""
    if min(inside.shape) == 1:
        return 1.0
    (outline,), _ = cv2.findContours(inside.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return float(min(cv2.minAreaRect(outline)[1])) + 1.0


def _around(found: Box, line: float, scale: float) -> Box:
    """Grow what was marked back to the line, pad it, and measure it in pixels of the picture."""
    across, along = (SHRUNK + PAD_HEIGHT) * line, PAD_WIDTH * line
    down, sideways = (across, along) if found.width >= found.height else (along, across)
    top, left = (found.row - down) / scale, (found.column - sideways) / scale
    bottom, right = (found.row + found.height + down) / scale, (found.column + found.width + sideways) / scale
    row, column = int(np.floor(top)), int(np.floor(left))
    return Box(row, column, int(np.ceil(bottom)) - row, int(np.ceil(right)) - column)


def clipped(box: Box, rows: int, columns: int) -> Box:
    """Return the part of a box that lies in a picture."""
    top, left = max(0, box.row), max(0, box.column)
    bottom, right = min(rows, box.row + box.height), min(columns, box.column + box.width)
    return Box(top, left, max(0, bottom - top), max(0, right - left))


def joined(boxes: list[Box]) -> list[Box]:
    """Join boxes that stand for the same: where one lies (nearly) inside another, both become one around them."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda b: -b.height * b.width):
        same = next((other for other in kept if _is_mostly_in(other, box)), None)
        if same is None:
            kept.append(box)
        else:
            kept[kept.index(same)] = around([same, box])
    return sorted(kept)


def unknown(boxes: list[Box], known: Collection[Box]) -> list[Box]:
    """Return the boxes that do not (nearly) lie in a known one."""
    return [box for box in boxes if not any(_is_mostly_in(other, box) for other in known)]


def _is_mostly_in(outer: Box, inner: Box) -> bool:
    height = min(outer.row + outer.height, inner.row + inner.height) - max(outer.row, inner.row)
    width = min(outer.column + outer.width, inner.column + inner.width) - max(outer.column, inner.column)
    return min(height, width) > 0 and height * width >= SAME * inner.height * inner.width


def around(boxes: list[Box]) -> Box:
    """Return the smallest box around others."""
    top, left = min(box.row for box in boxes), min(box.column for box in boxes)
    bottom, right = max(box.row + box.height for box in boxes), max(box.column + box.width for box in boxes)
    return Box(top, left, bottom - top, right - left)


def cut_back(box: Box, spared: Collection[Box]) -> Box:
    """Take padding off a box where it reaches into lines above or below that stay: half of that, and padding only."""
    top, bottom = box.row, box.row + box.height
    most = int(CUT * min(box.height, box.width))
    for other in spared:
        overlap = min(bottom, other.row + other.height) - max(top, other.row)
        are_in_a_column = other.column < box.column + box.width and box.column < other.column + other.width
        if are_in_a_column and 0 < overlap <= min(box.height, other.height) / 2:
            cut = min(most, -(-overlap // 2))
            is_below = other.row > box.row
            top, bottom = (
                (top, min(bottom, box.row + box.height - cut)) if is_below else (max(top, box.row + cut), bottom)
            )
    return box._replace(row=top, height=bottom - top)


def contains(outer: Box, inner: Box) -> bool:
    """Whether ``inner`` lies wholly inside ``outer``."""
    return (
        outer.row <= inner.row
        and outer.column <= inner.column
        and outer.row + outer.height >= inner.row + inner.height
        and outer.column + outer.width >= inner.column + inner.width
    )
