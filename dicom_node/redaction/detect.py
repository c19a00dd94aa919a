"""Pictures to boxes with text in them, and boxes to what they say: what a detector is, and which there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dicom_node.redaction.pp_ocr import PROFILES, PaddleDetector
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
    brightens : bool
        Whether it is to be shown dim pictures brightened as well.
    """

    name: str
    brightens: bool

    def find(self, pictures: Sequence[Picture]) -> list[Box]:
        """Find text.

        Parameters
        ----------
        pictures : sequence of numpy.ndarray
            uint8, shape (rows, columns, 3): views of the same place; text in any of them is found.
        """

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """Read one box, in the view in which it reads best."""


def make_detector(kind: str, language: str = "eng", profile: str = "thorough") -> TextDetector:
    """Make the detector by its name in the configuration: ``pp-ocr`` (in a profile) or ``tesseract``."""
    return TesseractDetector(language) if kind == "tesseract" else PaddleDetector(PROFILES[profile])
