"""Painting into the planes of a video frame: luminance, and two chrominances that pixels share (4:2:0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from numpy.typing import NDArray

    from dicom_node.model import Region

    Plane = NDArray[np.uint8]
    Painted = list[tuple[Region, tuple[int, int, int]]]

_TOLERANCE = {0.9: 16, 1.0: 48}
"""Levels, of 256, by which so many pixels of a painted area may differ from its colour once it was coded."""

_SHARED = 4
"""Rows and columns that can share chrominance: 2x2 pixels, and in interlaced frames 4 rows of both fields."""

_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
"""Weights of red and blue by matrix coefficients (ITU-T H.273 table 4); all others as ITU-R BT.601."""

_FULL_RANGE = 2


def _planes(frame: VideoFrame) -> list[Plane]:
    """Return the frame's luminance and both chrominances as views."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


def place(region: Region, shared: int = 1) -> tuple[slice, slice]:
    """Return where a region is in a plane in which so many pixels, each way, share a sample."""
    bottom, right = region.row + region.height, region.column + region.width
    return slice(region.row // shared, -(-bottom // shared)), slice(region.column // shared, -(-right // shared))


def paint(frame: VideoFrame, painted: Painted) -> None:
    """Paint regions, each in its RGB colour, into a frame that is writable."""
    _paint(_planes(frame), frame, painted)


def _paint(planes: list[Plane], frame: VideoFrame, painted: Painted) -> None:
    """Paint into planes; regions grow to whole blocks of pixels that can share chrominance."""
    for region, colour in painted:
        rows, columns = place(region, _SHARED)
        for plane, value, scale in zip(planes, _ybr(colour, frame), (_SHARED, _SHARED // 2, _SHARED // 2), strict=True):
            plane[rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale] = value


def is_plain(frame: VideoFrame, painted: Painted) -> bool:
    """Whether painting once more would change next to nothing, in each region and plane."""
    planes = _planes(frame)
    expected = [plane.copy() for plane in planes]
    _paint(expected, frame, painted)
    differences = [np.abs(plane.astype(np.int16) - again) for plane, again in zip(planes, expected, strict=True)]
    return all(
        np.quantile(difference[place(region, shared)], share) <= levels
        for region, _ in painted
        for difference, shared in zip(differences, (1, 2, 2), strict=True)
        for share, levels in _TOLERANCE.items()
    )


def _ybr(colour: tuple[int, int, int], frame: VideoFrame) -> tuple[int, int, int]:
    """RGB to the frame's luminance and chrominances (ITU-T H.273 8.3)."""
    red, green, blue = (value / 255 for value in colour)
    of_red, of_blue = _LUMA_WEIGHTS.get(frame.colorspace, (0.299, 0.114))
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    chroma = ((blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red))
    is_full = frame.color_range == _FULL_RANGE or frame.format.name == "yuvj420p"
    low, height, width = (0, 255, 255) if is_full else (16, 219, 224)
    of_blue_, of_red_ = (min(255, round(128 + width * value)) for value in chroma)
    return round(low + height * luma), of_blue_, of_red_
