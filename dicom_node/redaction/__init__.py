"""The whole pixel story: look at every frame, decide, paint, and say what was done.

Usable alone::

    from dicom_node.redaction import PaddleDetector, Policy, redact

    redaction = redact(dataset, Policy("all-text"), PaddleDetector())
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.model import Outcome, Redaction
from dicom_node.redaction.attributes import describe
from dicom_node.redaction.decide import Decision
from dicom_node.redaction.detect import PaddleDetector, TesseractDetector, TextDetector
from dicom_node.redaction.fill import extremes, paint
from dicom_node.redaction.frames import clear_unused_bits, open_frames
from dicom_node.redaction.look import Seen, find_regions
from dicom_node.redaction.planes import remove_planes
from dicom_node.redaction.render import Renderer

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicom_node.redaction.frames import Frames

__all__ = ["PaddleDetector", "Policy", "TesseractDetector", "TextDetector", "redact"]


@dataclass(frozen=True, slots=True)
class Policy:
    """What goes, and what comes in its place.

    Attributes
    ----------
    name : str
        ``all-text``, ``keep-safe-text`` or ``phi-only``.
    fill : str or int
        ``black``, ``background``, ``contrast``, or a stored value.
    """

    name: str = "keep-safe-text"
    fill: str | int = "black"


def redact(dataset: Dataset, policy: Policy, detector: TextDetector) -> Redaction:
    """Take text out of the pixels of one instance.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With its file meta information; changed in place, and of no use after an exception.
    policy : Policy
        What goes.
    detector : TextDetector
        Finds and reads text.

    Returns
    -------
    Redaction
        ``UNCHANGED`` when nothing was found and nothing had to change: then Pixel Data is byte for byte what it was.

    Raises
    ------
    Hold
        Whatever cannot be decoded, does not add up, or cannot be written back without loss.
    """
    decision = Decision(policy.name, dataset)
    actions = remove_planes(dataset)
    frames = open_frames(dataset)
    seen = find_regions(frames, Renderer(dataset, frames.pixels), decision, detector)
    started = time.monotonic()
    if seen.unused_bits:
        actions = (*actions, "unused bits cleared")
    if seen.regions or seen.unused_bits:
        _clean(dataset, frames, seen, policy.fill)
    redaction = Redaction(
        outcome=Outcome.CLEANED if seen.regions or actions else Outcome.UNCHANGED,
        regions=seen.regions,
        actions=actions,
        engine=detector.name,
        seconds={**seen.seconds, "encode": time.monotonic() - started},
    )
    describe(dataset, redaction)
    return redaction


def _clean(dataset: Dataset, frames: Frames, seen: Seen, fill: str | int) -> None:
    """Paint the regions into the frames that have some; every other frame keeps its bytes."""
    pixels = frames.pixels
    ends = extremes(dataset, pixels, seen.darkest, seen.brightest)
    for index in range(pixels.frames):
        regions = [region for region in seen.regions if region.first_frame <= index <= region.last_frame]
        if regions or index in seen.unused_bits:
            samples = clear_unused_bits(frames.read(index), pixels)
            frames.write(index, paint(samples, regions, pixels, ends, fill))
    frames.store(dataset)
