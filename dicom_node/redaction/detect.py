"""Pictures to boxes with text in them, and boxes to what they say: what a detector is, and which there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dicom_node.redaction.pp_ocr import PROFILES, THOROUGH, PaddleDetector
from dicom_node.redaction.read_twice import ReadTwice
from dicom_node.redaction.tesseract import TesseractDetector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.redaction.boxes import Box
    from dicom_node.redaction.reading import Reading
    from dicom_node.redaction.render import Picture


class TextDetector(Protocol):
    """Finds and reads text.

    Attributes
    ----------
    name : str
        Engine and version, for reports.
    """

    name: str

    def find(self, pictures: Sequence[Picture], *, moving: bool = False) -> list[Box]:
        """Find text.

        Parameters
        ----------
        pictures : sequence of numpy.ndarray
            uint8, shape (rows, columns, 3): views of the same place; text in any of them is found.
        moving : bool
            Whether they show several frames, each of which is looked at by itself afterwards (:meth:`glimpse`).
        """

    def glimpse(self, picture: Picture, known: Sequence[Box]) -> list[Box]:
        """Find text beside what is known, in one frame of several that have been looked at together.

        Text that is shown for a moment can sink in what is brighter and darker in the frames around it.
        """

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """Read one box, in the view in which it reads best."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Which detector, and how it works.

    Attributes
    ----------
    detector : str
        ``pp-ocr`` or ``tesseract``.
    profile : str
        How ``pp-ocr`` looks: ``thorough`` or ``fast``.
    language : str
        Of ``tesseract``, by its names, joined by ``+``.
    reading_language : str
        Languages in which Tesseract reads again what ``pp-ocr`` has found; empty for none.
    """

    detector: str = "pp-ocr"
    profile: str = THOROUGH.name
    language: str = "eng"
    reading_language: str = ""


def make_detector(engine: Engine) -> TextDetector:
    """Make a detector.

    Raises
    ------
    ConfigurationError
        When a program or a language is not installed.
    """
    if engine.detector == "tesseract":
        return TesseractDetector(engine.language)
    detector = PaddleDetector(PROFILES[engine.profile])
    if not engine.reading_language:
        return detector
    return ReadTwice(detector, TesseractDetector(engine.reading_language, "redact.reading_language"))
