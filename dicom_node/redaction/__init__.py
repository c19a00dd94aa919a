"""The whole pixel story: look at every frame, decide, paint, and say what was done.

Usable alone::

    from dicom_node.redaction import PaddleDetector, Policy, redact

    redaction = redact(dataset, Policy("all-text"), PaddleDetector())
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from dicom_node.errors import Hold
from dicom_node.model import Outcome, Redaction
from dicom_node.redaction.attributes import describe
from dicom_node.redaction.decide import Decision
from dicom_node.redaction.detect import TextDetector
from dicom_node.redaction.fill import extremes, paint
from dicom_node.redaction.frames import clear_unused_bits, open_frames
from dicom_node.redaction.look import Seen, find_regions
from dicom_node.redaction.overlays import redact_overlays
from dicom_node.redaction.planes import remove_planes
from dicom_node.redaction.pp_ocr import PaddleDetector
from dicom_node.redaction.render import Renderer
from dicom_node.redaction.rules import apply_rules, ultrasound_regions
from dicom_node.redaction.second_look import text_left
from dicom_node.redaction.tesseract import TesseractDetector
from dicom_node.redaction.without_pixels import clean_without_pixels

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicom_node.model import Region
    from dicom_node.redaction.frames import Frames
    from dicom_node.redaction.rules import Rule

__all__ = ["PaddleDetector", "Policy", "TesseractDetector", "TextDetector", "redact"]

LOOKS = 3
"""Looks at a result: after the last of them, what can still be read is not going to go."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Policy:
    """What goes, and what comes in its place.

    Attributes
    ----------
    name : str
        ``all-text``, ``keep-safe-text`` or ``phi-only``.
    fill : str or int
        ``black``, ``background``, ``contrast``, or a stored value.
    rules : tuple of Rule
        Fixed regions that go as well.
    ultrasound_regions : bool
        What lies outside Sequence of Ultrasound Regions goes as well.
    overlays : {'remove', 'redact'}
        Overlay planes go, or are kept without the text in them.
    documents, annotations : {'hold', 'remove'}
        What becomes of instances that are an encapsulated document, or a presentation state with graphic annotations.
    safe_text : tuple of str
        Regular expressions of text that is safe beside what the package knows.
    spacy_model : str
        An installed spaCy pipeline, which looks for names and places in ``phi-only``; empty for none.
    second_look : bool
        The result is decoded again from its bytes and looked at again; text that can still be read, and should have
        gone, is painted; if it is there after that, the instance is held.
    """

    name: str = "keep-safe-text"
    fill: str | int = "black"
    rules: tuple[Rule, ...] = ()
    ultrasound_regions: bool = False
    overlays: Literal["remove", "redact"] = "remove"
    documents: Literal["hold", "remove"] = "hold"
    annotations: Literal["hold", "remove"] = "hold"
    safe_text: tuple[str, ...] = ()
    spacy_model: str = ""
    second_look: bool = False


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
        Whatever cannot be decoded, does not add up, or cannot be written back without another loss.
    """
    decision = Decision(policy.name, dataset, policy.safe_text, policy.spacy_model)
    emptied = clean_without_pixels(dataset, documents=policy.documents, annotations=policy.annotations)
    if emptied:
        return _described(dataset, Redaction(Outcome.CLEANED, actions=emptied, engine=detector.name))
    ruled = _by_rule(dataset, policy)  # rules may ask for what is removed next
    overlays = redact_overlays(dataset, decision, detector) if policy.overlays == "redact" else ()
    actions = remove_planes(dataset, overlays=policy.overlays == "remove")
    frames = open_frames(dataset)
    seen = find_regions(frames, Renderer(dataset, frames.pixels), decision, detector)
    regions = tuple(dict.fromkeys(frames.grown(region) for region in (*ruled, *seen.regions)))
    started = time.monotonic()
    changes = bool(regions or seen.unused_bits or frames.actions)
    if changes:
        _clean(dataset, frames, regions, seen, policy.fill)
    seconds = {**seen.seconds, "encode": time.monotonic() - started}
    if changes and policy.second_look:
        started = time.monotonic()
        regions = _look_again(dataset, regions, seen, decision, detector, policy.fill)
        seconds["second_look"] = time.monotonic() - started
    actions = (*actions, *frames.actions, *(["unused bits cleared"] if seen.unused_bits else []))
    found = (*regions, *overlays)
    outcome = Outcome.CLEANED if found or actions else Outcome.UNCHANGED
    return _described(dataset, Redaction(outcome, found, actions, detector.name, seconds))


def _described(dataset: Dataset, redaction: Redaction) -> Redaction:
    describe(dataset, redaction)
    return redaction


def _by_rule(dataset: Dataset, policy: Policy) -> tuple[Region, ...]:
    regions = ultrasound_regions(dataset) if policy.ultrasound_regions else ()
    if not policy.rules:
        return regions
    result = apply_rules(policy.rules, dataset)
    for said in result.said:
        log.debug("rule", reason=said)
    return regions + result.regions


def _clean(dataset: Dataset, frames: Frames, regions: tuple[Region, ...], seen: Seen, fill: str | int) -> None:
    """Paint the regions into the frames that have some; every other frame keeps its bytes."""
    pixels = frames.pixels
    ends = extremes(dataset, pixels, seen.darkest, seen.brightest)
    for index in range(pixels.frames):
        here = [region for region in regions if region.first_frame <= index <= region.last_frame]
        if here or index in seen.unused_bits:
            samples = clear_unused_bits(frames.read(index), pixels)
            frames.write(index, paint(samples, here, pixels, ends, fill), here)
    frames.store(dataset)


def _look_again(  # noqa: PLR0917 - what redact has in hand
    dataset: Dataset,
    regions: tuple[Region, ...],
    seen: Seen,
    decision: Decision,
    detector: TextDetector,
    fill: str | int,
) -> tuple[Region, ...]:
    """Look at the result from its bytes, paint what can still be read, and look again; return all that is painted.

    Raises
    ------
    Hold
        When text that should have gone is still there after that.
    """
    for _ in range(LOOKS):
        left = text_left(dataset, regions, decision, detector)
        if not left:
            return regions
        frames = open_frames(dataset)
        more = tuple(frames.grown(region) for region in left)
        _clean(dataset, frames, more, seen, fill)
        regions = (*regions, *more)
    msg = "the second look found text that should have gone"
    raise Hold(msg)
