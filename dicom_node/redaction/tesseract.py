"""Tesseract by ``pytesseract``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from dicom_node.errors import ConfigurationError
from dicom_node.redaction.boxes import Box, clipped, joined, unknown
from dicom_node.redaction.reading import Reading, longest, surest, turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_node.redaction.render import Picture

PAD_HEIGHT = 0.15
PAD_WIDTH = 0.5
"""Of the height of a word, beyond what was found."""


class TesseractDetector:
    """Finds far less than PP-OCR (findings, section 1): for comparison, and for its languages.

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

    def find(self, pictures: Sequence[Picture], **_: bool) -> list[Box]:
        """See :class:`TextDetector`."""
        return joined([box for picture in pictures for box in self._find_in(picture)])

    def glimpse(self, picture: Picture, known: Sequence[Box]) -> list[Box]:
        """See :class:`TextDetector`."""
        return unknown(self.find([picture]), known)

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """See :class:`TextDetector`."""
        return surest([longest([self._read_line(line) for line in turns(picture, box)]) for picture in pictures])

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
                yield clipped(_padded(box), *picture.shape[:2])

    def _read_line(self, line: Picture) -> Reading:
        words = self._words(cv2.copyMakeBorder(line, 10, 10, 10, 10, cv2.BORDER_REPLICATE), 7)
        read = [(t, float(c)) for t, c in zip(words["text"], words["conf"], strict=True) if t.strip()]
        if not read:
            return Reading("", 0.0)
        return Reading(" ".join(text for text, _ in read), min(confidence for _, confidence in read) / 100)


def _padded(box: Box) -> Box:
    thickness = min(box.height, box.width)
    along, across = max(1, round(PAD_WIDTH * thickness)), max(1, round(PAD_HEIGHT * thickness))
    down, sideways = (across, along) if box.width >= box.height else (along, across)
    return Box(box.row - down, box.column - sideways, box.height + 2 * down, box.width + 2 * sideways)
