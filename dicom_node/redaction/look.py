"""Every frame is looked at: alone, or together with its neighbours; what is found becomes regions of frames."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from dicom_node.model import Region
from dicom_node.redaction.barcodes import find_barcodes
from dicom_node.redaction.boxes import cut_back
from dicom_node.redaction.frames import clear_unused_bits, stored_values
from dicom_node.redaction.labels import rows_of, values_beside
from dicom_node.redaction.reading import Reading
from dicom_node.redaction.readings import is_legible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_node.model import Kind
    from dicom_node.redaction.boxes import Box
    from dicom_node.redaction.decide import Decision, Verdict
    from dicom_node.redaction.detect import TextDetector
    from dicom_node.redaction.format import PixelFormat
    from dicom_node.redaction.frames import Frames
    from dicom_node.redaction.render import Picture, Renderer

GROUP = 8
"""Frames looked at together. More would be quicker, and lose text that is shown for a moment over moving speckle."""

THUMBNAIL = 32
ALIKE = 0.1
"""Mean difference, of the range, up to which frames are looked at together."""

SAME = 0.4
"""Correlation from which the same text stands at a place in another group of frames."""


@dataclass(slots=True)
class Seen:
    """What looking at an instance gave.

    Attributes
    ----------
    regions : tuple of Region
        What has to go.
    unused_bits : set of int
        Frames with something outside Bits Stored.
    darkest, brightest : int
        Smallest and largest stored value of all frames.
    seconds : dict of str to float
        ``decode`` and ``detect``.
    """

    regions: tuple[Region, ...] = ()
    unused_bits: set[int] = field(default_factory=set)
    darkest: int = 1 << 62
    brightest: int = -(1 << 62)
    seconds: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "detect": 0.0})


@dataclass(frozen=True, slots=True)
class _Group:
    """Consecutive frames: a picture of them tells whether a text stands in them as well."""

    first: int
    last: int
    picture: Picture
    boxes: dict[Box, Kind]


def find_regions(frames: Frames, renderer: Renderer, decision: Decision, detector: TextDetector) -> Seen:
    """Look at every frame and decide what goes.

    Raises
    ------
    Hold
        When a frame cannot be decoded: what was not seen is not sent.
    """
    seen = Seen()
    groups = []
    for first, group in _groups(frames, seen):
        started = time.monotonic()
        pictures = renderer.pictures(group)
        moments = [picture for samples in group for picture in renderer.pictures([samples])] if len(group) > 1 else []
        boxes = boxes_that_go(pictures, decision, detector, moments)
        groups.append(_Group(first, first + len(group) - 1, pictures[0], boxes))
        seen.seconds["detect"] += time.monotonic() - started
    seen.regions = tuple(_regions(groups))
    return seen


def _groups(frames: Frames, seen: Seen) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Read the frames in groups of consecutive ones that are alike: a frame of its own kind would hide the others."""
    first = 0
    group: list[NDArray[Any]] = []
    for index in range(frames.pixels.frames):
        samples = _read(frames, index, seen)
        if group and (len(group) == GROUP or not _are_alike(group[0], samples, frames.pixels)):
            yield first, group
            first, group = index, []
        group.append(samples)
    yield first, group


def _read(frames: Frames, index: int, seen: Seen) -> NDArray[Any]:
    """Read one frame as it will be sent, without its unused bits, and note what it holds."""
    started = time.monotonic()
    samples = frames.read(index)
    used = clear_unused_bits(samples, frames.pixels)
    if not np.array_equal(used, samples):
        seen.unused_bits.add(index)
    values = stored_values(used, frames.pixels)
    seen.darkest, seen.brightest = min(seen.darkest, int(values.min())), max(seen.brightest, int(values.max()))
    seen.seconds["decode"] += time.monotonic() - started
    return used


def _are_alike(one: NDArray[Any], other: NDArray[Any], pixels: PixelFormat) -> bool:
    """Whether two frames differ, in small, by less than a tenth of their range."""
    small = [
        cv2.resize(
            stored_values(samples, pixels).astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA
        )
        for samples in (one, other)
    ]
    return float(np.abs(small[0] - small[1]).mean()) <= ALIKE * float(np.ptp(small))


def boxes_that_go(
    pictures: Sequence[Picture], decision: Decision, detector: TextDetector, moments: Sequence[Picture] = ()
) -> dict[Box, Kind]:
    """Find text and decide: what a policy does not spare goes, what stands where a label has its value, and barcodes.

    Parameters
    ----------
    pictures : sequence of numpy.ndarray
        uint8, shape (rows, columns, 3): views of the same place.
    moments : sequence of numpy.ndarray
        Views of single frames, where the pictures are of several.

    Returns
    -------
    dict of Box to str
        What goes, each with the kind of identity that was read; nothing is read where the policy does not ask.
    """
    found = _found(pictures, moments, detector)
    text = _text_that_goes(found, decision, detector)
    return text | dict.fromkeys(find_barcodes(pictures, text), "")


def _found(
    pictures: Sequence[Picture], moments: Sequence[Picture], detector: TextDetector
) -> dict[Box, Sequence[Picture]]:
    """Return where text stands, and in which pictures it is read."""
    found = dict.fromkeys(detector.find(pictures, moving=bool(moments)), pictures)
    for moment in moments:
        for box in detector.glimpse(moment, list(found)):
            found.setdefault(box, [moment])
    return found


def _text_that_goes(found: dict[Box, Sequence[Picture]], decision: Decision, detector: TextDetector) -> dict[Box, Kind]:
    boxes = list(found)
    if not decision.reads:
        return dict.fromkeys(boxes, "")
    readings = {box: detector.read(pictures, box) for box, pictures in found.items()}
    verdicts = {box: decision.verdict(reading) for box, reading in readings.items()}
    spared = _spared_as_one(readings, verdicts, decision)
    values = values_beside(boxes, [said if is_legible(said, sure) else "" for said, sure in readings.values()])
    going = {
        box: verdict.kind or values.get(box, "")
        for box, verdict in verdicts.items()
        if (verdict.goes and box not in spared) or box in values
    }
    staying = [box for box in boxes if box not in going]
    return {cut_back(box, staying): kind for box, kind in going.items()}


def _spared_as_one(readings: dict[Box, Reading], verdicts: dict[Box, Verdict], decision: Decision) -> set[Box]:
    """Return the boxes that a decision spares when they are read as one: "FOV" and, a little further on, "350"."""
    spared: set[Box] = set()
    for row in rows_of(list(readings)):
        if any(verdicts[box].kind for box in row):
            continue
        text = " ".join(readings[box].text for box in row)
        if not decision.goes(Reading(text, min(readings[box].confidence for box in row))):
            spared.update(row)
    return spared


def _regions(groups: list[_Group]) -> Iterator[Region]:
    """Give each box the frames of its group and of every other group in which the same text stands.

    A detector that misses a banner in one group of a cine does not uncover it there, and text that is shown for a
    moment costs no pixel of the other frames.
    """
    done: list[Region] = []
    for group in groups:
        for box, kind in group.boxes.items():
            for run in _runs([other for other in groups if other is group or _stands_in(box, group, other)]):
                region = Region(box.row, box.column, box.height, box.width, run[0].first, run[-1].last, kind=kind)
                if not any(_covers(other, region) for other in done):
                    done.append(region)
                    yield region


def _runs(groups: list[_Group]) -> Iterator[list[_Group]]:
    run: list[_Group] = []
    for group in groups:
        if run and group.first != run[-1].last + 1:
            yield run
            run = []
        run.append(group)
    if run:
        yield run


def _stands_in(box: Box, group: _Group, other: _Group) -> bool:
    place = (slice(box.row, box.row + box.height), slice(box.column, box.column + box.width))
    ours, theirs = (one.picture[place].mean(axis=-1, dtype=np.float32) for one in (group, other))
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    norm = float(np.sqrt((ours**2).sum() * (theirs**2).sum()))
    return norm > 0 and float((ours * theirs).sum()) / norm >= SAME


def _covers(outer: Region, inner: Region) -> bool:
    return (
        outer.row <= inner.row
        and outer.column <= inner.column
        and outer.row + outer.height >= inner.row + inner.height
        and outer.column + outer.width >= inner.column + inner.width
        and outer.first_frame <= inner.first_frame
        and outer.last_frame >= inner.last_frame
    )
