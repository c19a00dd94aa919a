"""The detectors and the recogniser of PP-OCRv6 on ONNX Runtime, one thread: a redactor process has one core.

The detectors were trained further on made radiology (scripts/train_detector); how they look, and what each part of
that is worth, was measured (docs/detection.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dicom_node.redaction.boxes import Box, Marking, boxes_in, clipped, joined, tiles, unknown
from dicom_node.redaction.gate import Gate
from dicom_node.redaction.onnx import network_input, session
from dicom_node.redaction.reading import CLEAR, CLOSE, INSET, Reading, longest, surest, turns
from dicom_node.redaction.readings import is_legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_node.redaction.boxes import Map
    from dicom_node.redaction.render import Picture

SHORT_SIDE = 480
LONGEST_SCALED = 2200
"""A strip is not enlarged beyond this, whatever its short side."""

STRIDE = 32
"""Input sizes are multiples of the network's stride."""

READ_HEIGHT = 48
"""Height of a line as the recogniser takes it."""

CERTAIN = 0.95
"""Confidence below which a line is read again, cut out closer."""

PARTLY = 0.8
"""Most confidence of a reading that leaves a place unread at an end, as long as the line is high.

The detector saw letters there. They may have sunk: then what can be read ("D:54") is not what stands there (an ID).
"""

SINGLE = 0.85
"""Confidence with which a single letter has to be read where it is doubtful: other marks look like one."""

MODELS = files("dicom_node.redaction") / "models"


MARKING = Marking()
LOOKED_AT_TWICE = Marking(doubtful=0.75)
SURE = Marking(small=0.75, tall=0.85, lone=0.5, doubtful=0.75)
"""For what is seen in double size alone: speckle looks like letters there."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a picture is looked at; what is found in any way is found.

    Attributes
    ----------
    name : str
        As in the configuration.
    network : str
        File of the detector.
    everywhere : tuple of float
        Sizes, as a multiple of the picture's, in which all of it is looked at.
    gated : tuple of float
        Sizes in which the places are looked at where the gate says that text may stand.
    marking, gated_marking : Marking
        What of the detector's map is text.
    """

    name: str
    network: str
    everywhere: tuple[float, ...]
    gated: tuple[float, ...]
    marking: Marking = MARKING
    gated_marking: Marking = MARKING


THOROUGH = Profile("thorough", "text-small.onnx", (1.0,), (2.0,), LOOKED_AT_TWICE, SURE)
FAST = Profile("fast", "text-tiny.onnx", everywhere=(), gated=(1.0,))
PROFILES = {profile.name: profile for profile in (THOROUGH, FAST)}


class PaddleDetector:
    """See :class:`dicom_node.redaction.TextDetector`."""

    def __init__(self, profile: Profile = THOROUGH) -> None:
        self._profile = profile
        self._find = session(MODELS / profile.network)
        self.gate = Gate(session(MODELS / "gate.onnx"))
        self._read = session(files("rapidocr") / "models" / "PP-OCRv6_rec_small.onnx")
        characters = self._read.get_modelmeta().custom_metadata_map["character"].split("\n")
        self._characters = ["", *characters, " "]
        self.name = f"PP-OCRv6 {profile.name} (dicom-node {version('dicom-node')}, rapidocr {version('rapidocr')})"

    def find(self, pictures: Sequence[Picture], *, moving: bool = False) -> list[Box]:
        """See :class:`dicom_node.redaction.TextDetector`.

        Speckle and vessels that move leave marks that look like letters. Of several frames, a doubtful line that cannot
        be read is none, where there are other looks, in which text is less doubtful.
        """
        found = (self._found(picture, self._looks(picture), moving=moving) for picture in pictures)
        return joined(list(chain.from_iterable(found)))

    def glimpse(self, picture: Picture, known: Sequence[Box]) -> list[Box]:
        """See :class:`dicom_node.redaction.TextDetector`."""
        marking = self._profile.marking
        looks = ((tile, 1.0, marking) for area in self.gate.areas(picture, known) for tile in tiles(area))
        return unknown(joined(list(self._found(picture, looks, moving=True))), known)

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """See :class:`dicom_node.redaction.TextDetector`."""
        first = self._readings(pictures, box, INSET)
        best = surest(first)
        if best.confidence >= CERTAIN:
            return best
        again = surest([*first, *self._readings(pictures, box, CLOSE)])
        # What is read closer may be surer of the same, not of less: the rest may be a name.
        says_less = any(_length(again) < _length(reading) for reading in first if reading.confidence >= CLEAR)
        return again._replace(confidence=min(again.confidence, PARTLY)) if says_less else again

    def _readings(self, pictures: Sequence[Picture], box: Box, inset: float) -> list[Reading]:
        return [longest([self._read_line(line) for line in turns(picture, box, inset)]) for picture in pictures]

    def _found(self, picture: Picture, looks: Iterable[tuple[Box, float, Marking]], *, moving: bool) -> Iterator[Box]:
        rows, columns = picture.shape[:2]
        smallest = min(SHORT_SIDE / min(rows, columns), LONGEST_SCALED / max(rows, columns))
        for area, zoom, marking in looks:
            part = picture[area.row : area.row + area.height, area.column : area.column + area.width]
            if part.size and part.min() != part.max():  # in one colour nothing can be written
                is_read = partial(self._can_read, part) if moving else None
                for box in self._boxes(part, max(zoom, smallest), marking, is_read):
                    yield clipped(box._replace(row=box.row + area.row, column=box.column + area.column), rows, columns)

    def _looks(self, picture: Picture) -> Iterator[tuple[Box, float, Marking]]:
        """Say where to look, in which sizes, and what is text there."""
        rows, columns = picture.shape[:2]
        profile = self._profile
        for tile in tiles(Box(0, 0, rows, columns)):
            yield from ((tile, zoom, profile.marking) for zoom in profile.everywhere)
        for area in self.gate.areas(picture) if profile.gated else ():
            for tile in tiles(area):
                yield from ((tile, zoom, profile.gated_marking) for zoom in profile.gated)

    def _can_read(self, picture: Picture, box: Box) -> bool:
        reading = self.read([picture], clipped(box, *picture.shape[:2]))
        return is_legible(*reading) and _length(reading) >= (1 if reading.confidence >= SINGLE else 2)

    def _boxes(
        self, part: Picture, zoom: float, marking: Marking, is_read: Callable[[Box], bool] | None
    ) -> Iterator[Box]:
        rows, columns = (max(STRIDE, round(side * zoom / STRIDE) * STRIDE) for side in part.shape[:2])
        resized = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_CUBIC)
        found = self._find.run(None, {"x": network_input(resized)})[0][0, 0]
        # A side is rounded to the stride: the map is brought back to square pixels.
        square = cv2.resize(found, (round(part.shape[1] * rows / part.shape[0]), rows), interpolation=cv2.INTER_LINEAR)
        return boxes_in(square, marking, rows / part.shape[0], is_read)

    def _read_line(self, line: Picture) -> Reading:
        width = max(READ_HEIGHT, round(line.shape[1] * READ_HEIGHT / line.shape[0]))
        resized = cv2.resize(line, (width, READ_HEIGHT), interpolation=cv2.INTER_LINEAR)
        return self._decoded(self._read.run(None, {"x": network_input(resized)})[0][0], width)

    def _decoded(self, scores: Map, width: int) -> Reading:
        """CTC: the best character at each place, repeats joined, blanks dropped."""
        best = scores.argmax(axis=1)
        kept = [i for i, code in enumerate(best) if code and (i == 0 or code != best[i - 1])]
        if not kept:
            return Reading("", 0.0)
        text = "".join(self._characters[best[i]] for i in kept).strip()
        confidence = float(np.mean([scores[i, best[i]] for i in kept]))
        return Reading(
            text,
            min(confidence, PARTLY)
            if _longest_end(best, len(self._characters) - 1, width) >= READ_HEIGHT
            else confidence,
        )


def _length(reading: Reading) -> int:
    return sum(map(str.isalnum, reading.text))


def _longest_end(codes: NDArray[np.int64], space: int, width: int) -> float:
    """Return how many pixels before the first character, or behind the last one, nothing was read."""
    read = np.flatnonzero((codes > 0) & (codes < space))
    if not read.size:
        return float(width)
    return float(max(read[0], len(codes) - 1 - read[-1])) * width / len(codes)
