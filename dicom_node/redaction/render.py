"""Stored values to 8-bit pictures in which text can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.pixels import apply_color_lut, convert_color_space
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicom_node.errors import Hold
from dicom_node.redaction.codecs import colour_as_decoded
from dicom_node.redaction.frames import stored_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicom_node.redaction.format import PixelFormat

    Picture = NDArray[np.uint8]

GAMMA = 0.4
"""Second look on kinds of images that carry dim text: recall of dim words 93 % to 100 % (findings, section 1)."""

_DIM_TEXT_MODALITIES = frozenset({"US", "IVUS", "SC", "PT", "OT", "NM", "ES", "XC"})
_PERCENTILES = (0.5, 99.5)


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
        modality = str(dataset.get("Modality", ""))
        self._looks_twice = self._is_colour or modality in _DIM_TEXT_MODALITIES

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
        if all(_is_plain(picture) for picture in pictures) and not all(_is_plain(samples) for samples in group):
            msg = "the pixel data cannot be displayed: it varies, its pictures do not"
            raise Hold(msg)
        if self._looks_twice:
            pictures += [_brightened(picture) for picture in pictures]
        return pictures

    def _colour_pictures(self, group: list[NDArray[Any]]) -> list[Picture]:
        rendered = [self._as_rgb(samples) for samples in group]
        pictures = rendered if len(rendered) == 1 else [np.max(rendered, axis=0), np.min(rendered, axis=0)]
        if self._colour == "PALETTE COLOR":  # text may stand in indices whose colours are alike
            ends = group if len(group) == 1 else [np.max(group, axis=0), np.min(group, axis=0)]
            pictures += [np.stack([_full_range(indices.astype(np.int64))] * 3, axis=-1) for indices in ends]
        return pictures

    def _grey_pictures(self, group: list[NDArray[Any]]) -> list[Picture]:
        values = [stored_values(samples, self._pixels) for samples in group]
        if len(values) == 1:
            window, full = self._windowed(values[0]), _full_range(values[0])
            mean = ((window.astype(np.uint16) + full) // 2).astype(np.uint8)
            return [np.stack([window, full, mean], axis=-1)]
        lowest, highest = np.min(values, axis=0), np.max(values, axis=0)
        mean_values = np.mean(values, axis=0)
        pictures = [np.stack([self._windowed(view) for view in (highest, mean_values, lowest)], axis=-1)]
        if self._pixels.bits_stored > 8:  # noqa: PLR2004 - 8 bits are shown whole already
            pictures.append(np.stack([_full_range(view) for view in (highest, mean_values, lowest)], axis=-1))
        return pictures

    def _windowed(self, values: NDArray[Any]) -> Picture:
        low, high = self._window or _percentile_window(values)
        return _scaled(values, low, high)

    def _as_rgb(self, samples: NDArray[Any]) -> Picture:
        if self._colour == "PALETTE COLOR":
            return palette_to_rgb(self._dataset, stored_values(samples, self._pixels))
        values = stored_values(samples, self._pixels)
        if self._pixels.bits_stored > 8:  # noqa: PLR2004 - to the 8 bits of a picture
            values = values >> (self._pixels.bits_stored - 8)
        picture = np.clip(values, 0, 255).astype(np.uint8)
        if self._colour.startswith("YBR_FULL"):
            picture = convert_color_space(picture, "YBR_FULL", "RGB")
        return picture


def stored_window(dataset: Dataset) -> tuple[float, float] | None:
    """Return the first VOI window as (lowest, highest) stored value, None without one (PS3.3 C.11.2.1.2)."""
    holder = _functional_group(dataset, "FrameVOILUTSequence")
    rescale = _functional_group(dataset, "PixelValueTransformationSequence")
    centre, width = _first_number(holder.get("WindowCenter")), _first_number(holder.get("WindowWidth"))
    slope = _first_number(rescale.get("RescaleSlope")) or 1.0
    intercept = _first_number(rescale.get("RescaleIntercept")) or 0.0
    if centre is None or width is None or width < 1:
        return None
    edges = sorted((centre + half - intercept) / slope for half in (-width / 2, width / 2))
    return edges[0], edges[1]


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
    return bool((picture == picture[:1, :1]).all())


def _functional_group(dataset: Dataset, keyword: str) -> Dataset:
    """Return where an attribute group stands: shared, first per-frame, or the data set itself (PS3.3 C.7.6.16)."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in (dataset.get(groups) or [])[:1]:
            if item.get(keyword):
                found: Dataset = item[keyword][0]
                return found
    return dataset


def _first_number(value: Any) -> float | None:  # noqa: ANN401 - DS, multi-valued DS, None
    try:
        return float(value[0] if hasattr(value, "__getitem__") and not isinstance(value, str) else value)
    except (TypeError, ValueError, IndexError):
        return None


def _percentile_window(values: NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def _full_range(values: NDArray[Any]) -> Picture:
    return _scaled(values, float(values.min()), float(values.max()))


def _scaled(values: NDArray[Any], low: float, high: float) -> Picture:
    scale = 255.0 / max(high - low, 1e-9)
    return np.clip((values.astype(np.float32) - low) * scale, 0, 255).astype(np.uint8)


def _brightened(picture: Picture) -> Picture:
    table = (255.0 * (np.arange(256) / 255.0) ** GAMMA).astype(np.uint8)
    return table[picture]
