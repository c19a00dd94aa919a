"""Stored values to 8-bit pictures in which text can be seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicom_node.errors import Hold
from dicom_node.redaction.codecs import colour_as_decoded
from dicom_node.redaction.frames import stored_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.redaction.format import PixelFormat

    Picture = NDArray[np.uint8]

_BITS_SHOWN = 8
"""Bits a sample of a picture."""

_PERCENTILES = (0.5, 99.5)
_LEVELS = 255
_SPARSE = 16
_ENOUGH = 100_000
_WIDEST = 8
"""How many times wider than most of its values a window may be: 32 grey levels are left to them."""


class Renderer:
    """Renders the frames of one instance.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Gives window, palette and modality; not changed.
    pixels : PixelFormat
        Its pixel format.
    """

    def __init__(self, dataset: Dataset, pixels: PixelFormat) -> None:
        self._dataset = dataset
        self._pixels = pixels
        self._window = stored_window(dataset)
        self._colour = colour_as_decoded(pixels)

    @property
    def _is_colour(self) -> bool:
        return self._colour not in {"MONOCHROME1", "MONOCHROME2"}

    def pictures(self, group: list[NDArray[Any]]) -> list[Picture]:
        """Render a group of frames that are looked at together.

        Parameters
        ----------
        group : list of numpy.ndarray
            Samples of consecutive frames. More than one are looked at as their maximum, minimum and mean: text that
            stands still over moving anatomy is sharper there than in any one frame.

        Returns
        -------
        list of numpy.ndarray
            uint8, shape (rows, columns, 3); text in any frame can be seen in one of them.
        """
        pictures = self._colour_pictures(group) if self._is_colour else self._grey_pictures(group)
        if all(_is_plain(picture) for picture in pictures) and not all(_is_plain(s) for s in group):
            msg = "the pixel data cannot be displayed: it varies, its pictures do not"
            raise Hold(msg)
        return pictures

    def _colour_pictures(self, group: list[NDArray[Any]]) -> list[Picture]:
        rendered = [self._as_rgb(samples) for samples in group]
        pictures = rendered if len(rendered) == 1 else [np.max(rendered, axis=0), np.min(rendered, axis=0)]
        if self._colour == "PALETTE COLOR":  # text may stand in indices whose colours are alike
            return pictures + self._grey_pictures(group)
        if self._pixels.bits_stored > _BITS_SHOWN:  # and in values of which those bits show little
            values = np.stack([stored_values(samples, self._pixels) for samples in group])
            low, high = _with_margins(*_typical_range(values))
            pictures += [_scaled(np.max(values, axis=0), low, high), _scaled(np.min(values, axis=0), low, high)]
        return pictures

    def _grey_pictures(self, group: list[NDArray[Any]]) -> list[Picture]:
        values = [stored_values(samples, self._pixels) for samples in group]
        if len(values) == 1:
            window, full, *more = (_scaled(values[0], *edges) for edges in self._windows(values[0]))
            mean = (window & full) + ((window ^ full) >> 1)  # rounded down, in 8 bits
            return [cv2.merge(views) for views in ([window, full, mean], *([view] * 3 for view in more))]
        views = (np.max(values, axis=0), np.mean(values, axis=0), np.min(values, axis=0))
        shown = [[_scaled(view, *edges) for edges in self._windows(view)] for view in views]
        first = 1 if self._pixels.bits_stored <= _BITS_SHOWN else 0  # the full range shows every value of 8 bits
        count = max(len(pictures) for pictures in shown)
        return [
            np.stack([pictures[min(i, len(pictures) - 1)] for pictures in shown], axis=-1) for i in range(first, count)
        ]

    def _windows(self, values: NDArray[Any]) -> list[tuple[float, float]]:
        """Return the VOI window, the full range, and a third where both hide most of the values.

        They do when the window is for something else, or when one far value (padding, a marker) stretches the range.
        """
        full = (float(values.min()), float(values.max()))
        typical = _typical_range(values)
        windows = [self._window or _percentile_window(values), full]
        if not any(_shows(window, typical) for window in windows):
            windows.append(_with_margins(*typical))
        return windows

    def _as_rgb(self, samples: NDArray[Any]) -> Picture:
        if self._colour == "PALETTE COLOR":
            return palette_to_rgb(self._dataset, stored_values(samples, self._pixels))
        values = stored_values(samples, self._pixels)
        picture = (values if self._pixels.highest == _LEVELS else values * _LEVELS // self._pixels.highest).astype(
            np.uint8
        )
        if self._colour.startswith("YBR_FULL"):
            picture = convert_color_space(picture, "YBR_FULL", "RGB")
        return picture


def stored_window(dataset: Dataset) -> tuple[float, float] | None:
    """Return the first VOI window as (lowest, highest) stored value, None without one (PS3.3 C.11.2.1.2)."""
    holder = _functional_group(dataset, "FrameVOILUTSequence")
    centre, width = _first_number(holder, "WindowCenter"), _first_number(holder, "WindowWidth")
    slope, intercept = rescale(dataset)
    if centre is None or width is None or width < 1:
        return None
    edges = sorted((centre + half - intercept) / slope for half in (-width / 2, width / 2))
    return (edges[0], edges[1]) if all(map(math.isfinite, edges)) else None


def rescale(dataset: Dataset) -> tuple[float, float]:
    """Return Rescale Slope and Intercept (PS3.3 C.11.1.1.2), 1 and 0 without them; a slope of 0 is none."""
    holder = _functional_group(dataset, "PixelValueTransformationSequence")
    return _first_number(holder, "RescaleSlope") or 1.0, _first_number(holder, "RescaleIntercept") or 0.0


def palette_to_rgb(dataset: Dataset, indices: NDArray[Any]) -> Picture:
    """Look palette indices up, also in segmented tables (PS3.3 C.7.6.3.1.5, C.7.9.2).

    Raises
    ------
    Hold
        When the tables are missing or broken.
    """
    try:
        colours = apply_color_lut(indices.astype(np.int32), _little_endian_palette(dataset))
    except Exception as error:
        msg = f"the colour palette cannot be applied ({type(error).__name__})"
        raise Hold(msg) from error
    return (colours >> 8).astype(np.uint8) if colours.dtype.itemsize > 1 else colours.astype(np.uint8)


def _little_endian_palette(dataset: Dataset) -> Dataset:
    """Return the palette as pydicom can apply it: it takes plain tables as little endian, and all would turn dark."""
    if dataset.file_meta.TransferSyntaxUID != ExplicitVRBigEndian:
        return dataset
    palette = Dataset()
    palette.file_meta = FileMetaDataset()
    palette.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for element in dataset.group_dataset(0x0028):
        value = element.value
        is_words = element.VR == "OW" and isinstance(value, bytes)
        palette.add_new(element.tag, element.VR, _swapped(value) if is_words else value)
    return palette


def _swapped(words: bytes) -> bytes:
    return np.frombuffer(words, np.uint16).byteswap().tobytes()


def _is_plain(picture: NDArray[Any]) -> bool:
    """Whether all pixels are the same; most pictures are told by a few of them."""
    return bool((picture[::_SPARSE] == picture[:1, :1]).all()) and bool((picture == picture[:1, :1]).all())


def _functional_group(dataset: Dataset, keyword: str) -> Dataset:
    """Return where an attribute group stands: shared, first per-frame, or the data set itself (PS3.3 C.7.6.16)."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in (dataset.get(groups) or [])[:1]:
            if item.get(keyword):
                found: Dataset = item[keyword][0]
                return found
    return dataset


def _first_number(holder: Dataset, keyword: str) -> float | None:
    """Return the first value of an attribute; none when it is no finite number: how to look does not hang on it."""
    try:
        value = holder.get(keyword)
        number = float(value[0] if isinstance(value, MultiValue) else value)
    except Exception:  # noqa: BLE001 - whatever pydicom raises for text that is no number, and float() for no value
        return None
    return number if math.isfinite(number) else None


def _percentile_window(values: NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(_sample(values), _PERCENTILES)
    return float(low), float(high)


def _typical_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return between what most values stand, the very lowest (padding, background) and highest (a marker) left out."""
    some = _sample(values)
    inner = some[(some > some.min()) & (some < some.max())]
    return _percentile_window(inner if inner.size else some)


def _sample(values: NDArray[Any]) -> NDArray[Any]:
    """Return some values of a large frame, from all over it: a window needs no more than tens of thousands."""
    return values.reshape(-1)[:: values.size // _ENOUGH | 1]  # odd: sides of frames are even


def _with_margins(low: float, high: float) -> tuple[float, float]:
    margin = max(1.0, (high - low) / 4)
    return low - margin, high + margin


def _shows(window: tuple[float, float], typical: tuple[float, float]) -> bool:
    covers = window[0] <= typical[0] and typical[1] <= window[1]
    return covers and window[1] - window[0] <= max(_LEVELS, _WIDEST * (typical[1] - typical[0]))


def _scaled(values: NDArray[Any], low: float, high: float) -> Picture:
    scale = _LEVELS / max(high - low, 1e-9)
    scaled = values - low
    scaled *= scale
    return np.clip(scaled, 0, _LEVELS, out=scaled).astype(np.uint8)
