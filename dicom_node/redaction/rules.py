"""Regions by rule: fixed places of a device's images, and what lies outside of the ultrasound regions.

A rule only ever adds to what is cleaned: the union of what all rules that apply name goes, together with what the
detector finds. Where a rule cannot be evaluated the instance is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from dicom_node.errors import Hold
from dicom_node.model import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydicom import Dataset

    from dicom_node.redaction.rule_conditions import Condition

ULTRASOUND_SEQUENCE = 0x00186011


class Size(NamedTuple):
    """Rows and Columns in pixels, and the number of frames."""

    rows: int
    columns: int
    frames: int


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of pixels, row and column counted from 0."""

    row: int
    column: int
    height: int
    width: int

    def within(self, size: Size) -> Area | None:
        """Return the part that lies in the image; None when there is none."""
        height = min(self.row + self.height, size.rows) - self.row
        width = min(self.column + self.width, size.columns) - self.column
        return Area(self.row, self.column, height, width) if height > 0 and width > 0 else None


class Place(Enum):
    """An area that each image says for itself."""

    WHOLE_IMAGE = "all"
    ULTRASOUND_REGIONS = "from:SequenceOfUltrasoundRegions"


@dataclass(frozen=True, slots=True)
class Rule:
    """What goes from the images for which the condition holds.

    Attributes
    ----------
    name : str
        From the rule file; it is said to the operator.
    regions : tuple of Area or Place
        What goes.
    keep : tuple of Area or Place
        When there is any, everything outside of their union goes as well.
    rows, columns : int or None
        The size that the rule was made for, in pixels; None fits every image.
    """

    name: str
    condition: Condition
    regions: tuple[Area | Place, ...] = ()
    keep: tuple[Area | Place, ...] = ()
    rows: int | None = None
    columns: int | None = None

    def misfit(self, size: Size) -> str | None:
        """Say why the rule was made for images of another size; None when it was not."""
        if self.rows not in {None, size.rows} or self.columns not in {None, size.columns}:
            made_for = f"{self.rows or 'any'}x{self.columns or 'any'}"
            return f"made for {made_for}, the image has {size.rows}x{size.columns}"
        areas = [area for area in (*self.regions, *self.keep) if isinstance(area, Area)]
        if any(area.within(size) is None for area in areas):
            return f"an area of it lies outside of the image, which has {size.rows}x{size.columns}"
        return None

    def applies(self, dataset: Dataset) -> bool:
        """Say whether the rule is carried out on an image; raises what :func:`apply_rules` raises."""
        return self.condition.holds(dataset) and self.misfit(image_size(dataset)) is None

    def cleaned(self, dataset: Dataset, size: Size) -> tuple[Area, ...]:
        """Return the rectangles that go, all of them within the image."""
        areas = tuple(_areas(self.regions, dataset, size))
        return (*areas, *outside(tuple(_areas(self.keep, dataset, size)), size)) if self.keep else areas


class RuleResult(NamedTuple):
    """What the rules gave for one instance.

    ``said`` names the rules whose condition holds and which were made for images of another size; no element value but
    Rows and Columns is in it.
    """

    regions: tuple[Region, ...]
    said: tuple[str, ...]


def apply_rules(rules: Iterable[Rule], dataset: Dataset) -> RuleResult:
    """Carry out every rule whose condition holds: the union of what they name goes, in all frames.

    Raises
    ------
    Hold
        When a condition cannot be evaluated, or the image does not say how large it is.
    """
    size = image_size(dataset)
    areas: list[Area] = []
    said: list[str] = []
    for rule in rules:
        if rule.condition.holds(dataset):
            misfit = rule.misfit(size)
            if misfit:
                said.append(f"rule {rule.name} does not apply: {misfit}")
            else:
                areas += rule.cleaned(dataset, size)
    return RuleResult(_regions(areas, size), tuple(said))


def ultrasound_regions(dataset: Dataset) -> tuple[Region, ...]:
    """Return everything outside of the ultrasound regions (PS3.3 C.8.5.5), where scanners write names and dates.

    Empty when there is no Sequence of Ultrasound Regions (0018,6011): such an image says nothing about itself.

    Raises
    ------
    Hold
        When there is one that has no items, or that contradicts Rows and Columns.
    """
    if ULTRASOUND_SEQUENCE not in dataset:
        return ()
    size = image_size(dataset)
    return _regions(outside(_ultrasound_areas(dataset, size), size), size)


def image_size(dataset: Dataset) -> Size:
    """Read Rows, Columns and Number of Frames.

    Raises
    ------
    Hold
        When one of them is no number of at least 1; an absent Number of Frames is 1.
    """
    try:
        frames = dataset.get("NumberOfFrames")
        size = Size(int(dataset.Rows), int(dataset.Columns), 1 if frames is None else int(frames))
    except Exception:  # noqa: BLE001 - whatever pydicom raises for bytes that are no number, and int() for no value
        size = Size(0, 0, 0)
    if min(size) < 1:
        msg = "Rows, Columns or Number of Frames is missing or is no size"
        raise Hold(msg)
    return size


def outside(areas: Sequence[Area], size: Size) -> tuple[Area, ...]:
    """Cover everything outside of the areas' union with few rectangles that do not overlap."""
    edges = {0, size.rows, *(area.row for area in areas), *(area.row + area.height for area in areas)}
    found: list[Area] = []
    for top, bottom in pairwise(sorted(edges)):
        inside = [area for area in areas if area.row < bottom and area.row + area.height > top]
        for left, right in _gaps(inside, size.columns):
            band = Area(top, left, bottom - top, right - left)
            above = next((area for area in found if _continues(area, band)), None)
            if above is not None:
                found.remove(above)
                band = Area(above.row, left, above.height + band.height, band.width)
            found.append(band)
    return tuple(found)


def _gaps(areas: list[Area], columns: int) -> Iterator[tuple[int, int]]:
    covered = 0
    for area in sorted(areas, key=lambda area: area.column):
        if area.column > covered:
            yield covered, area.column
        covered = max(covered, area.column + area.width)
    if covered < columns:
        yield covered, columns


def _continues(above: Area, below: Area) -> bool:
    return (above.column, above.width, above.row + above.height) == (below.column, below.width, below.row)


def _regions(areas: Iterable[Area], size: Size) -> tuple[Region, ...]:
    return tuple(
        Region(area.row, area.column, area.height, area.width, 0, size.frames - 1, "rule")
        for area in dict.fromkeys(areas)
    )


def _areas(places: Iterable[Area | Place], dataset: Dataset, size: Size) -> Iterator[Area]:
    for place in places:
        if place is Place.WHOLE_IMAGE:
            yield Area(0, 0, size.rows, size.columns)
        elif place is Place.ULTRASOUND_REGIONS:
            yield from _ultrasound_areas(dataset, size)
        elif isinstance(place, Area) and (area := place.within(size)):
            yield area


def _ultrasound_areas(dataset: Dataset, size: Size) -> tuple[Area, ...]:
    try:
        areas = tuple(_ultrasound_area(item, size) for item in dataset[ULTRASOUND_SEQUENCE].value)
    except Exception:  # noqa: BLE001 - absent, unreadable or not what the module asks for: none of it says what to keep
        areas = ()
    if not areas:
        msg = "the Sequence of Ultrasound Regions has no regions, or contradicts Rows and Columns"
        raise Hold(msg)
    return areas


def _ultrasound_area(item: Dataset, size: Size) -> Area:
    """Read one region; its corners are both inside of it (PS3.3 C.8.5.5).

    Scanners that count the lower right corner as outside are common: it may lie one pixel beyond the image.
    """
    left, top = int(item.RegionLocationMinX0), int(item.RegionLocationMinY0)
    right, bottom = int(item.RegionLocationMaxX1), int(item.RegionLocationMaxY1)
    if not (0 <= left <= right <= size.columns and 0 <= top <= bottom <= size.rows):
        raise ValueError
    area = Area(top, left, bottom - top + 1, right - left + 1).within(size)
    if area is None:
        raise ValueError
    return area
