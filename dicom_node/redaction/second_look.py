"""The second look: the result is decoded again from the bytes it goes out as, and every frame is looked at once more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread

from dicom_node.errors import Hold
from dicom_node.redaction.frames import open_frames
from dicom_node.redaction.look import find_regions
from dicom_node.redaction.overlays import redact_overlays
from dicom_node.redaction.part10 import write
from dicom_node.redaction.render import Renderer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_node.model import Region
    from dicom_node.redaction.decide import Decision
    from dicom_node.redaction.detect import TextDetector
    from dicom_node.redaction.format import PixelFormat
    from dicom_node.redaction.frames import Frames


def look_again(dataset: Dataset, painted: Sequence[Region], decision: Decision, detector: TextDetector) -> float:
    """Look at the pixels, and at the overlays that were kept, as a receiver will have them.

    Parameters
    ----------
    painted : sequence of Region
        What was painted in the pixels, grown to what is stored together.

    Returns
    -------
    float
        The seconds it took.

    Raises
    ------
    Hold
        When text that should have gone is still there.
    """
    started = time.monotonic()
    written = BytesIO()
    write(dataset, written)
    again = dcmread(BytesIO(written.getbuffer()))
    frames = open_frames(again)
    renderer = Renderer(again, frames.pixels)
    left = find_regions(frames, renderer, decision, detector).regions
    if any(not _is_painted(region, painted) for region in left):
        # Edges of paint can look like strokes. What is found without them as well is no edge.
        without = _WithoutPaint(frames, painted)
        left = find_regions(without, renderer, decision, detector).regions  # type: ignore[arg-type]  # is only read
        if any(not _is_painted(region, painted) for region in left):
            msg = "the second look found text that should have gone"
            raise Hold(msg)
    if redact_overlays(again, decision, detector):
        msg = "the second look found text in an overlay that should have gone"
        raise Hold(msg)
    return time.monotonic() - started


def _is_painted(region: Region, painted: Sequence[Region]) -> bool:
    """Whether a region holds nothing but paint, in all of its frames."""
    is_left = np.ones((region.height, region.width), bool)
    for paint in painted:
        if paint.first_frame <= region.first_frame and paint.last_frame >= region.last_frame:
            row, column = paint.row - region.row, paint.column - region.column
            is_left[max(row, 0) : max(row + paint.height, 0), max(column, 0) : max(column + paint.width, 0)] = False
    return not is_left.any()


@dataclass(frozen=True, slots=True)
class _WithoutPaint:
    """Frames in which what was painted is bridged from the row above to the row below, so that it has few edges."""

    frames: Frames
    painted: Sequence[Region]

    @property
    def pixels(self) -> PixelFormat:
        return self.frames.pixels

    def read(self, index: int) -> NDArray[Any]:
        samples = self.frames.read(index)
        for region in self.painted:
            if region.first_frame <= index <= region.last_frame:
                _bridge(samples, region)
        return samples


def _bridge(samples: NDArray[Any], region: Region) -> None:
    columns = slice(region.column, region.column + region.width)
    below = region.row + region.height
    edges = [samples[row, columns] for row in (region.row - 1, below) if 0 <= row < len(samples)]
    if edges:
        share = np.linspace(0, 1, region.height).reshape(-1, *[1] * edges[0].ndim)
        samples[region.row : below, columns] = edges[0] * (1 - share) + edges[-1] * share
