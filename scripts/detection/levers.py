"""What each part of looking brings: the detector with and without it, and parts that did not come into the node."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dicom_node.redaction.boxes import Box, Marking, clipped
from dicom_node.redaction.header import HeaderValues
from dicom_node.redaction.pp_ocr import FAST, THOROUGH, PaddleDetector, Profile
from dicom_node.redaction.readings import normal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydicom import Dataset

    from dicom_node.redaction.detect import TextDetector
    from dicom_node.redaction.render import Picture

    Found = list[Box]

RELEASED = str(files("rapidocr") / "models" / "PP-OCRv6_det_small.onnx")
GROWTH = 0.3
"""Of a box's height, to all sides: the released weights mark a line narrower than ours do."""

FAINT = Marking(pixel=0.1, small=0.2, tall=0.4)
ALIKE = 1.4
SAME_EDGE = 0.7
FARTHEST = 3.5


class _Wrapped:
    """A detector around another."""

    def __init__(self, inner: TextDetector) -> None:
        self._inner = inner
        self.name = inner.name

    def glimpse(self, picture: Picture, known: Sequence[Box]) -> Found:
        """Find what the inner one does."""
        return self._inner.glimpse(picture, known)

    def read(self, pictures: Sequence[Picture], box: Box) -> Any:  # noqa: ANN401 - a Reading
        return self._inner.read(pictures, box)


class Grown(_Wrapped):
    """Boxes of the released weights, as large as those that are compared with them."""

    def find(self, pictures: Sequence[Picture], *, moving: bool = False) -> Found:
        """Grow what is found to all sides."""
        found = []
        for box in self._inner.find(pictures, moving=moving):
            pad = max(1, round(GROWTH * min(box.height, box.width)))
            grown = Box(box.row - pad, box.column - pad, box.height + 2 * pad, box.width + 2 * pad)
            found.append(clipped(grown, *pictures[0].shape[:2]))
        return found


class Blocks(_Wrapped):
    """Lines of a block share a left edge and a pitch: where strokes stand in its gaps, and next to it, they go too."""

    def find(self, pictures: Sequence[Picture], *, moving: bool = False) -> Found:
        """Find lines, and those that are missing among them."""
        found = self._inner.find(pictures, moving=moving)
        strokes = _strokes(pictures[0])
        missing = [box for box in _expected(found) if not any(_overlap(box, other) for other in found)]
        inside = (clipped(box, *strokes.shape) for box in missing)
        least = np.median([_mean(strokes, box) for box in found]) / 2 if found else 0
        return found + [box for box in inside if box.height and box.width and _mean(strokes, box) >= least]


class Header(_Wrapped):
    """What is too faint to go on its own goes where it reads as a value of the header."""

    def __init__(self, inner: TextDetector, faint: TextDetector, dataset: Dataset) -> None:
        super().__init__(inner)
        self._faint, self._values = faint, HeaderValues(dataset)

    def find(self, pictures: Sequence[Picture], *, moving: bool = False) -> Found:
        """Find lines, and faint ones that say what the header says."""
        found = self._inner.find(pictures, moving=moving)
        faint = self._faint.find(pictures, moving=moving)
        faint = [box for box in faint if not any(_overlap(box, other) for other in found)]
        return found + [box for box in faint if self._values.kind_of(normal(self.read(pictures, box).text))]


def _strokes(picture: Picture) -> np.ndarray[Any, np.dtype[np.float32]]:
    grey = picture.max(axis=2)
    return np.asarray(cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)), dtype=np.float32)


def _mean(strokes: np.ndarray[Any, np.dtype[np.float32]], box: Box) -> float:
    return float(strokes[box.row : box.row + box.height, box.column : box.column + box.width].mean())


def _overlap(one: Box, other: Box) -> bool:
    """Whether two boxes share more than a third of the lower one's height, side by side or not."""
    rows = min(one.row + one.height, other.row + other.height) - max(one.row, other.row)
    columns = min(one.column + one.width, other.column + other.width) - max(one.column, other.column)
    return rows > min(one.height, other.height) / 3 and columns > 0


def _expected(found: Found) -> Iterator[Box]:
    """List where a block of lines would have more: between two that are far apart, above the first, below the last."""
    for upper in found:
        below = [other for other in found if _continues(upper, other)]
        if below:
            lower = min(below, key=lambda other: other.row)
            pitch = lower.row - upper.row
            width = max(upper.width, lower.width)
            yield upper._replace(row=upper.row - pitch, width=width)
            yield upper._replace(row=lower.row + pitch, width=width)
            yield upper._replace(row=upper.row + pitch // 2, width=width)


def _continues(upper: Box, lower: Box) -> bool:
    heights = sorted((upper.height, lower.height))
    is_near = 0 < lower.row - upper.row <= FARTHEST * heights[0]
    return is_near and heights[1] <= ALIKE * heights[0] and abs(upper.column - lower.column) <= SAME_EDGE * heights[0]


def _paddle(profile: Profile) -> Callable[[Dataset], TextDetector]:
    detector = PaddleDetector(profile)
    return lambda _: detector


_ONCE = replace(THOROUGH, everywhere=(1.0,), gated=())
_TINY = replace(FAST, everywhere=(1.0,), gated=())


def _header(profile: Profile) -> Callable[[Dataset], TextDetector]:
    inner, faint = PaddleDetector(profile), PaddleDetector(replace(profile, marking=FAINT))
    return lambda dataset: Header(inner, faint, dataset)


def _wrapped(kind: type[_Wrapped], profile: Profile) -> Callable[[Dataset], TextDetector]:
    detector = kind(PaddleDetector(profile))
    return lambda _: detector  # type: ignore[return-value]


LEVERS: dict[str, Callable[[], Callable[[Dataset], TextDetector]]] = {
    "released": lambda: _wrapped(Grown, replace(_ONCE, network=RELEASED)),
    "small": lambda: _paddle(_ONCE),
    "small+double": lambda: _paddle(replace(_ONCE, gated=(2.0,))),
    "small+double-everywhere": lambda: _paddle(replace(_ONCE, everywhere=(1.0, 2.0))),
    "small+blocks": lambda: _wrapped(Blocks, _ONCE),
    "small+header": lambda: _header(_ONCE),
    "tiny": lambda: _paddle(_TINY),
    "tiny+gate": lambda: _paddle(replace(_TINY, everywhere=(), gated=(1.0,))),
    "tiny+gate+half": lambda: _paddle(replace(_TINY, everywhere=(), gated=(1.5,))),
    "tiny+gate+double": lambda: _paddle(replace(_TINY, everywhere=(), gated=(2.0,))),
}
"""Name: what makes the detector of an instance."""
