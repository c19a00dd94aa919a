"""The second look: what goes out is decoded again from its bytes, and looked at again for text that can be read.

Only what reads as text counts: once the text around them is gone, the detector sees marks, organs and edges of paint
as glyphs.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmread

from dicom_node.redaction.decide import Decision, Verdict
from dicom_node.redaction.frames import open_frames
from dicom_node.redaction.look import find_regions
from dicom_node.redaction.part10 import write
from dicom_node.redaction.readings import LEGIBLE
from dicom_node.redaction.render import Renderer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from dicom_node.model import Region
    from dicom_node.redaction.detect import TextDetector
    from dicom_node.redaction.reading import Reading

FEWEST_CHARACTERS = 2
"""Of a reading that is text."""


def text_left(
    dataset: Dataset, painted: Sequence[Region], decision: Decision, detector: TextDetector
) -> tuple[Region, ...]:
    """Return what can still be read and should have gone.

    Parameters
    ----------
    dataset : pydicom.Dataset
        As it would go out; it is written and read again, and does not change.
    painted : tuple of Region
        What holds nothing but paint.
    """
    written = BytesIO()
    write(dataset, written)
    again = dcmread(BytesIO(written.getbuffer()))
    frames = open_frames(again)
    found = find_regions(frames, Renderer(again, frames.pixels), _Legible(decision), detector).regions
    return tuple(region for region in found if not _is_painted(region, painted))


class _Legible(Decision):
    """Decides as another decision does, about what can be read."""

    def __init__(self, decision: Decision) -> None:
        self._decision = decision

    @property
    def reads(self) -> bool:
        """Always: whether it can be read is the question."""
        return True

    def verdict(self, reading: Reading) -> Verdict:
        """Decide that what can be read goes, where it should have gone."""
        characters = sum(character.isalnum() for character in reading.text)
        if reading.confidence < LEGIBLE or characters < FEWEST_CHARACTERS:
            return Verdict(goes=False)
        return self._decision.verdict(reading) if self._decision.reads else Verdict(goes=True)


def _is_painted(region: Region, painted: Sequence[Region]) -> bool:
    """Whether a region holds nothing but paint, in all of its frames."""
    is_left = np.ones((region.height, region.width), bool)
    for paint in painted:
        if paint.first_frame <= region.first_frame and paint.last_frame >= region.last_frame:
            row, column = paint.row - region.row, paint.column - region.column
            is_left[max(row, 0) : max(row + paint.height, 0), max(column, 0) : max(column + paint.width, 0)] = False
    return not is_left.any()
