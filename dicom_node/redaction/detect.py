"""Pictures to boxes with text in them, and boxes to what they say: the OCR adapters.

The default finds lines with the PP-OCRv6 detector and reads them with its recogniser, both from the wheel of
``rapidocr``, on ONNX Runtime. How it looks, and what that is worth, was measured (docs/decisions/0003-detector.md).
"""

from __future__ import annotations

import itertools
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import cv2
import numpy as np
import onnxruntime
from rapidfuzz import fuzz

from dicom_node.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_node.redaction.render import Picture

SHORT_SIDE = 480
LONG_SIDE = 1100
LONGEST_SCALED = 2 * LONG_SIDE
"""A strip is not enlarged beyond this, whatever its short side."""

TILE = 640
OVERLAP = 80
STRIDE = 32
"""Input sizes are multiples of the network's stride."""

PROBABILITY = 0.2
COMPONENT_MEAN = 0.4
UNCLIP = 1.5
SMALLEST_SIDE = 2
TALLEST_SHARE = 0.12
TALLEST_LINE = 72
LINE_ASPECT = 2.5
PAD_HEIGHT = 0.15
PAD_WIDTH = 0.5

CLEAR = 0.6
ALIKE = 60.0
"""Readings with this confidence that are less similar than this, in percent, contradict each other."""

READ_HEIGHT = 48
"""Height of a line as the recogniser takes it."""


class Box(NamedTuple):
    """A rectangle in one picture, in pixels."""

    row: int
    column: int
    height: int
    width: int


class Reading(NamedTuple):
    """What a box says, and how sure that is (0 to 1)."""

    text: str
    confidence: float


class TextDetector(Protocol):
    """Finds and reads text."""

    name: str

    def find(self, pictures: Sequence[Picture]) -> list[Box]:
        """Find text.

        Parameters
        ----------
        pictures : sequence of numpy.ndarray
            uint8, shape (rows, columns, 3): views of the same place; text in any of them is found.
        """

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """Read one box, in the view in which it reads best."""


class PaddleDetector:
    """PP-OCRv6 small on ONNX Runtime, one thread: a redactor process has one core."""

    def __init__(self) -> None:
        models = files("rapidocr") / "models"
        self._find = _session(models / "PP-OCRv6_det_small.onnx")
        self._read = _session(models / "PP-OCRv6_rec_small.onnx")
        characters = self._read.get_modelmeta().custom_metadata_map["character"].split("\n")
        self._characters = ["", *characters, " "]
        self.name = f"PP-OCRv6-small (rapidocr {version('rapidocr')})"

    def find(self, pictures: Sequence[Picture]) -> list[Box]:
        """See :class:`TextDetector`."""
        found = [box for picture in pictures for box in self._find_in(picture)]
        return without_contained(found)

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """See :class:`TextDetector`."""
        readings = [self._read_line(_crop(picture, box)) for picture in pictures]
        return surest(readings)

    def _find_in(self, picture: Picture) -> Iterator[Box]:
        rows, columns = picture.shape[:2]
        for tile in tiles(rows, columns):
            part = picture[tile.row : tile.row + tile.height, tile.column : tile.column + tile.width]
            if len(part) and part.min() == part.max():
                continue  # one colour: nothing can be written in it
            scale = max(1.0, min(SHORT_SIDE / min(part.shape[:2]), LONGEST_SCALED / max(part.shape[:2])))
            probability = self._probability(part, scale)
            for box in boxes_in(probability, part.shape[0], part.shape[1], min(rows, columns)):
                yield _clipped(box._replace(row=box.row + tile.row, column=box.column + tile.column), rows, columns)

    def _probability(self, part: Picture, scale: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the network's map, of the size of ``part``."""
        rows, columns = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in part.shape[:2])
        resized = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_CUBIC)
        network_input = (resized.astype(np.float32) / 127.5 - 1.0).transpose(2, 0, 1)[None]
        found = self._find.run(None, {"x": network_input})[0][0, 0]
        smallest = cv2.resize(found, (part.shape[1], part.shape[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(smallest, dtype=np.float32)

    def _read_line(self, line: Picture) -> Reading:
        width = max(READ_HEIGHT, round(line.shape[1] * READ_HEIGHT / line.shape[0]))
        resized = cv2.resize(line, (width, READ_HEIGHT), interpolation=cv2.INTER_CUBIC)
        network_input = (resized.astype(np.float32) / 127.5 - 1.0).transpose(2, 0, 1)[None]
        scores = self._read.run(None, {"x": network_input})[0][0]
        return self._decoded(scores)

    def _decoded(self, scores: np.ndarray[Any, np.dtype[np.float32]]) -> Reading:
        """CTC: the best character at each place, repeats joined, blanks dropped."""
        best = scores.argmax(axis=1)
        kept = [i for i, code in enumerate(best) if code and (i == 0 or code != best[i - 1])]
        if not kept:
            return Reading("", 0.0)
        text = "".join(self._characters[best[i]] for i in kept)
        return Reading(text.strip(), float(np.mean([scores[i, best[i]] for i in kept])))


class TesseractDetector:
    """Tesseract by ``pytesseract``: finds far less (findings, section 1), for comparison and for its languages.

    Raises
    ------
    ConfigurationError
        When the program or the language is not installed; it names the ``key`` that asks for them.
    """

    def __init__(self, language: str = "eng", key: str = "redact.tesseract_language") -> None:
        import pytesseract  # noqa: PLC0415 - pulls pandas when there is one; only this detector needs it

        self._tesseract = pytesseract
        self._language = language
        try:
            known = pytesseract.get_languages()
            self.name = f"Tesseract {pytesseract.get_tesseract_version()}"
        except pytesseract.TesseractNotFoundError:
            msg = f"{key}: tesseract is not installed; install it (Debian: tesseract-ocr) or use pp-ocr alone"
            raise ConfigurationError(msg) from None
        if not set(language.split("+")) <= set(known):
            msg = f"{key}: {language!r} is not installed; there are: {', '.join(known)}"
            raise ConfigurationError(msg)

    def find(self, pictures: Sequence[Picture]) -> list[Box]:
        """See :class:`TextDetector`."""
        return without_contained([box for picture in pictures for box in self._find_in(picture)])

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """See :class:`TextDetector`."""
        readings = [self._read_line(_crop(picture, box)) for picture in pictures]
        return surest(readings)

    def _words(self, picture: Picture, page_segmentation: int) -> dict[str, list[Any]]:
        words: dict[str, list[Any]] = self._tesseract.image_to_data(
            picture,
            lang=self._language,
            config=f"--psm {page_segmentation}",
            output_type=self._tesseract.Output.DICT,
        )
        return words

    def _find_in(self, picture: Picture) -> Iterator[Box]:
        doubled = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        words = self._words(doubled, 11)
        sides = zip(words["top"], words["left"], words["height"], words["width"], words["text"], strict=True)
        for top, left, height, width, text in sides:
            if text.strip():
                box = Box(top // 2, left // 2, -(-height // 2), -(-width // 2))
                yield _clipped(_padded(box), *picture.shape[:2])

    def _read_line(self, line: Picture) -> Reading:
        words = self._words(cv2.copyMakeBorder(line, 10, 10, 10, 10, cv2.BORDER_REPLICATE), 7)
        read = [(t, float(c)) for t, c in zip(words["text"], words["conf"], strict=True) if t.strip()]
        if not read:
            return Reading("", 0.0)
        return Reading(" ".join(text for text, _ in read), min(confidence for _, confidence in read) / 100)


def surest(readings: Sequence[Reading]) -> Reading:
    """Return the reading to go by, without confidence where views say different things: one may hide another."""
    best = max(readings, key=lambda reading: reading.confidence)
    legible = (reading for reading in readings if reading.confidence >= CLEAR)
    if any(fuzz.ratio(best.text, reading.text) < ALIKE for reading in legible):
        return best._replace(confidence=0.0)
    return best


def make_detector(kind: str, language: str = "eng", reading_language: str = "") -> TextDetector:
    """Make the detector by its name in the configuration: ``pp-ocr`` or ``tesseract``.

    With a reading language, Tesseract reads again what ``pp-ocr`` has found; Tesseract itself has ``language``.
    """
    if kind == "tesseract":
        return TesseractDetector(language)
    if not reading_language:
        return PaddleDetector()
    from dicom_node.redaction.reading import ReadTwice  # noqa: PLC0415 - it imports this module

    return ReadTwice(PaddleDetector(), TesseractDetector(reading_language, "redact.reading_language"))


def tiles(rows: int, columns: int) -> Iterator[Box]:
    """Divide a large picture into overlapping tiles; a small one is looked at whole."""
    if max(rows, columns) <= LONG_SIDE:
        yield Box(0, 0, rows, columns)
        return
    for row, column in itertools.product(_starts(rows), _starts(columns)):
        yield Box(row, column, min(TILE, rows - row), min(TILE, columns - column))


def _starts(length: int) -> list[int]:
    if length <= TILE:
        return [0]
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    return [round(i * (length - TILE) / (count - 1)) for i in range(count)]


def boxes_in(
    probability: np.ndarray[Any, np.dtype[np.float32]], rows: int, columns: int, short_side: int
) -> Iterator[Box]:
    """Turn a probability map into padded boxes (differentiable binarisation: Liao et al., AAAI 2020).

    Components taller than any text are dropped: the detector sees an isolated organ as one glyph, and its box can
    cover the image. ``short_side`` is that of the whole picture.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((probability > PROBABILITY).astype(np.uint8))
    for label in range(1, count):
        left, top, width, height, _area = (int(number) for number in stats[label])
        if min(width, height) < SMALLEST_SIDE:
            continue
        inside = labels[top : top + height, left : left + width] == label
        if probability[top : top + height, left : left + width][inside].mean() < COMPONENT_MEAN:
            continue
        box = _unclipped(Box(top, left, height, width))
        if not _is_too_tall(box, short_side):
            yield _clipped(_padded(box), rows, columns)


def _is_too_tall(box: Box, short_side: int) -> bool:
    thickness, length = sorted((box.height, box.width))
    is_line = thickness <= TALLEST_LINE and length >= LINE_ASPECT * thickness
    return thickness > TALLEST_SHARE * short_side and not is_line


def _unclipped(box: Box) -> Box:
    """Grow the shrunk text kernel back to the text (the ratio of area and perimeter, as in training)."""
    distance = round(box.height * box.width * UNCLIP / (2 * (box.height + box.width)))
    return Box(box.row - distance, box.column - distance, box.height + 2 * distance, box.width + 2 * distance)


def _padded(box: Box) -> Box:
    thickness = min(box.height, box.width)
    along, across = max(1, round(PAD_WIDTH * thickness)), max(1, round(PAD_HEIGHT * thickness))
    down, sideways = (across, along) if box.width >= box.height else (along, across)
    return Box(box.row - down, box.column - sideways, box.height + 2 * down, box.width + 2 * sideways)


def _clipped(box: Box, rows: int, columns: int) -> Box:
    top, left = max(0, box.row), max(0, box.column)
    bottom, right = min(rows, box.row + box.height), min(columns, box.column + box.width)
    return Box(top, left, max(0, bottom - top), max(0, right - left))


def without_contained(boxes: list[Box]) -> list[Box]:
    """Drop boxes that lie wholly inside another."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda b: -b.height * b.width):
        if not any(contains(other, box) for other in kept):
            kept.append(box)
    return sorted(kept)


def contains(outer: Box, inner: Box) -> bool:
    """Whether ``inner`` lies wholly inside ``outer``."""
    return (
        outer.row <= inner.row
        and outer.column <= inner.column
        and outer.row + outer.height >= inner.row + inner.height
        and outer.column + outer.width >= inner.column + inner.width
    )


def _crop(picture: Picture, box: Box) -> Picture:
    """Cut a box out, upright: lines that run down are turned to run right."""
    part = picture[box.row : box.row + box.height, box.column : box.column + box.width]
    return np.rot90(part, -1).copy() if box.height > LINE_ASPECT * box.width else part


def _session(model: Any) -> onnxruntime.InferenceSession:  # noqa: ANN401 - a Traversable of the wheel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
