"""What regions are painted with, and the painting.

Values are replaced, not blurred or pixelated: those can be undone (PS3.15 E.3.1 asks for the removal of the
information).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dicom_node.errors import Hold
from dicom_node.redaction.codecs import colour_as_decoded
from dicom_node.redaction.frames import sample_of, stored_values
from dicom_node.redaction.render import palette_to_rgb, rescale, stored_window

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_node.model import Region
    from dicom_node.redaction.format import PixelFormat

    _Place = tuple[slice, slice]

_BORDER = 3
"""Pixels around a region from which its background is taken."""

_LUMINANCE = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class Extremes:
    """Stored values, one a sample, that are displayed black and white in an instance."""

    black: tuple[int, ...]
    white: tuple[int, ...]


def paint(
    samples: NDArray[Any], regions: list[Region], pixels: PixelFormat, extremes: Extremes, fill: str | int
) -> NDArray[Any]:
    """Paint regions into one frame.

    Parameters
    ----------
    samples : numpy.ndarray
        Shape :attr:`PixelFormat.shape`; changed and returned.
    regions : list of Region
        What is painted, grown to what is stored together.
    fill : {'black', 'background', 'contrast'} or int
        A number is a stored value, used for every sample (for the luminance alone in YBR).

    Raises
    ------
    Hold
        When a number cannot be stored in this instance.
    """
    for region in regions:
        place = (slice(region.row, region.row + region.height), slice(region.column, region.column + region.width))
        values = _fill_values(samples, place, pixels, extremes, fill)
        painted = [sample_of(value, samples, pixels) for value in values]
        samples[place] = painted if samples.ndim > 2 else painted[0]  # noqa: PLR2004 - has samples
    return samples


def extremes(dataset: Dataset, pixels: PixelFormat, darkest: int, brightest: int) -> Extremes:
    """Find what is displayed black and white.

    Parameters
    ----------
    darkest, brightest : int
        Smallest and largest stored value in the instance. A grey image is painted with the smaller of that and of its
        window's lower edge, not with the smallest number there is: viewers that scale to what they find keep their
        contrast.
    """
    colour = colour_as_decoded(pixels)
    middle = 1 << (pixels.bits_stored - 1)
    if colour == "RGB":
        return Extremes((0, 0, 0), (pixels.highest,) * 3)
    if colour.startswith("YBR"):
        return Extremes((0, middle, middle), (pixels.highest, middle, middle))
    if colour == "PALETTE COLOR":
        return _palette_extremes(dataset, pixels)
    window = stored_window(dataset) or (darkest, brightest)
    low = max(pixels.lowest, min(darkest, int(np.floor(window[0]))))
    high = min(pixels.highest, max(brightest, int(np.ceil(window[1]))))
    inverted = (colour == "MONOCHROME1") != (rescale(dataset)[0] < 0)
    return Extremes((high,), (low,)) if inverted else Extremes((low,), (high,))


def _palette_extremes(dataset: Dataset, pixels: PixelFormat) -> Extremes:
    entries, first, _ = dataset.RedPaletteColorLookupTableDescriptor
    count = min(entries or 1 << 16, pixels.highest - first + 1)
    if first < pixels.lowest or count < 1:
        msg = "the colour palette begins where no stored value can be"
        raise Hold(msg)
    indices = np.arange(first, first + count)
    luminance = palette_to_rgb(dataset, indices[None, :])[0] @ _LUMINANCE
    return Extremes((int(indices[luminance.argmin()]),), (int(indices[luminance.argmax()]),))


def _fill_values(
    samples: NDArray[Any], place: _Place, pixels: PixelFormat, ends: Extremes, fill: str | int
) -> tuple[int, ...]:
    if isinstance(fill, int):
        return _number_as_fill(fill, pixels, ends)
    if fill == "black":
        return ends.black
    background = _background(samples, place, pixels)
    if fill == "background":
        return background
    middle = (ends.black[0] + ends.white[0]) / 2
    is_dark = (background[0] < middle) == (ends.black[0] <= ends.white[0])
    return ends.white if is_dark else ends.black


def _number_as_fill(fill: int, pixels: PixelFormat, ends: Extremes) -> tuple[int, ...]:
    if not pixels.lowest <= fill <= pixels.highest:
        msg = f"the fill {fill} cannot be stored: allowed are {pixels.lowest} to {pixels.highest}"
        raise Hold(msg)
    is_ybr = colour_as_decoded(pixels).startswith("YBR")
    return (fill, *ends.black[1:]) if is_ybr else (fill,) * pixels.samples


def _background(samples: NDArray[Any], place: _Place, pixels: PixelFormat) -> tuple[int, ...]:
    """Return the most frequent colour in a narrow ring around a region: a value that occurs, also in a palette."""
    rows, columns = place
    top, left = max(rows.start - _BORDER, 0), max(columns.start - _BORDER, 0)
    around = samples[top : rows.stop + _BORDER, left : columns.stop + _BORDER]
    outside = np.ones(around.shape[:2], dtype=bool)
    outside[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = False
    ring = around[outside] if outside.any() else around.reshape(-1, *around.shape[2:])
    values = stored_values(ring.reshape(len(ring), -1), pixels)
    colours, counts = np.unique(values, axis=0, return_counts=True)
    return tuple(int(value) for value in colours[counts.argmax()])
