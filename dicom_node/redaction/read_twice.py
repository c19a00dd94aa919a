"""What one engine finds, read by two: for scripts that the first finds and cannot read (docs/ocr-languages.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_node.redaction.reading import Reading, surest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dicom_node.redaction.boxes import Box
    from dicom_node.redaction.detect import TextDetector
    from dicom_node.redaction.render import Picture


class ReadTwice:
    """Finds with one engine, and reads with it and a second.

    An engine reads letters that it does not know as others that it does, and can be sure of them. So the second does
    not replace the first: where both are sure and say different things, nothing is sure, and the text goes.

    Parameters
    ----------
    finder : TextDetector
        Finds, and reads.
    reader : TextDetector
        Reads as well.
    """

    def __init__(self, finder: TextDetector, reader: TextDetector) -> None:
        self._finder, self._reader = finder, reader
        self.name = f"{finder.name}, read with {reader.name} as well"

    def find(self, pictures: Sequence[Picture], *, moving: bool = False) -> list[Box]:
        """See :class:`TextDetector`."""
        return self._finder.find(pictures, moving=moving)

    def glimpse(self, picture: Picture, known: Sequence[Box]) -> list[Box]:
        """See :class:`TextDetector`."""
        return self._finder.glimpse(picture, known)

    def read(self, pictures: Sequence[Picture], box: Box) -> Reading:
        """See :class:`TextDetector`."""
        return surest([self._finder.read(pictures, box), self._reader.read(pictures, box)])
