"""Regions out of a sequential JPEG codestream without decoding it to pixels (ISO/IEC 10918-1, PS3.5 8.2.1).

Only the blocks under a region get new entropy-coded bits: one DC coefficient, no AC. Every other block keeps the very
bits it came with; where the block before it was painted, its DC difference alone is written anew, to the same value. So
there is no generation loss: what a block outside decodes to is the same, coefficient for coefficient.
"""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.redaction.jpeg_format import (
    SOS,
    Tables,
    frame_of,
    is_thumbnail,
    segment_without_words,
    segments_of,
    table_segment,
)
from dicom_node.redaction.jpeg_scan import Scan, repaint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dicom_node.redaction.jpeg_format import Component, Frame, Segment

    Rectangle = tuple[int, int, int, int]

_WHOLE_BLOCKS = b"\x00\x3f\x00"
"""Ss, Se, Ah and Al of a sequential scan (ISO/IEC 10918-1 B.2.3)."""
_AC = 0x10
_WHITE = 255


def editable(codestream: bytes) -> bool:
    """Whether :func:`paint` knows the coding process: 8 bit, Huffman, sequential DCT, one or three components."""
    try:
        frame_of(segments_of(codestream))
    except ValueError:
        return False
    return True


def has_thumbnail(codestream: bytes) -> bool:
    """Whether application segments can show the picture a second time: EXIF, JFIF thumbnails and their like."""
    try:
        return any(is_thumbnail(segment) for segment in segments_of(codestream))
    except ValueError:
        return False  # what cannot be divided into segments is not decoded either


def without_words(codestream: bytes) -> bytes:
    """Return the codestream without comments and application segments; all coded data stays bit for bit.

    Raises
    ------
    ValueError
        When it cannot be divided into segments.
    """
    kept = (segment_without_words(segment) + segment.entropy for segment in segments_of(codestream))
    return b"".join([b"\xff\xd8", *kept, b"\xff\xd9"])


def grown(codestream: bytes, regions: Sequence[Rectangle]) -> list[Rectangle]:
    """Return the areas that :func:`paint` changes.

    Parameters
    ----------
    codestream : bytes
        One frame.
    regions : sequence of (row, column, height, width)
        In pixels.

    Returns
    -------
    list of (row, column, height, width)
        Each region as far as its MCUs reach, clipped to the image; regions outside of it are left out. Where chroma is
        subsampled, decoders that interpolate it mix the border of such an area with the one pixel beyond.

    Raises
    ------
    ValueError
        When the codestream cannot be edited.
    """
    frame = frame_of(segments_of(codestream))
    height, width = frame.mcu
    areas = []
    for top, left, bottom, right in _mcu_ranges(frame, regions):
        row, column = top * height, left * width
        areas.append((row, column, min(bottom * height, frame.rows) - row, min(right * width, frame.columns) - column))
    return areas


def paint(codestream: bytes, regions: Sequence[Rectangle], colour: tuple[int, ...]) -> bytes:
    """Paint regions, grown to whole MCUs, and leave the coefficients of all other blocks as they are.

    Comments and application segments other than JFIF and Adobe are left out, and so is a JFIF thumbnail: a small copy
    of the picture, or words about it, would survive in them.

    Parameters
    ----------
    codestream : bytes
        One frame.
    regions : sequence of (row, column, height, width)
        In pixels; what lies outside of the image is ignored.
    colour : tuple of int
        What painted blocks decode to, one value or RGB of 0 to 255, as near as the quantisation allows. Black and white
        are met exactly.

    Returns
    -------
    bytes
        ``codestream`` itself when no region touches the image.

    Raises
    ------
    ValueError
        When the codestream cannot be edited, or does not hold what its headers say, or when the result, read again, is
        anything but the same blocks with the painted ones flat.
    """
    segments = segments_of(codestream)
    frame = frame_of(segments)
    touched = _touched(frame, regions)
    if not touched.any():
        return codestream
    if len(colour) != len(frame.components) or not all(0 <= value <= _WHITE for value in colour):
        msg = "the colour is not one value of 0 to 255 for each component"
        raise ValueError(msg)
    result = b"".join([b"\xff\xd8", *_edited(segments, frame, touched, colour), b"\xff\xd9"])
    if frame_of(segments_of(result)) != frame:
        msg = "the edited codestream is not what was meant"
        raise ValueError(msg)
    return result


def _mcu_ranges(frame: Frame, regions: Sequence[Rectangle]) -> Iterator[Rectangle]:
    """Yield top, left, bottom and right, in MCUs, of the regions that touch the image."""
    mcu_height, mcu_width = frame.mcu
    for row, column, height, width in regions:
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + height, frame.rows), min(column + width, frame.columns)
        if top < bottom and left < right:
            yield top // mcu_height, left // mcu_width, -(-bottom // mcu_height), -(-right // mcu_width)


def _touched(frame: Frame, regions: Sequence[Rectangle]) -> NDArray[np.bool_]:
    touched = np.zeros(frame.mcus, bool)
    for top, left, bottom, right in _mcu_ranges(frame, regions):
        touched[top:bottom, left:right] = True
    return touched


def _edited(
    segments: list[Segment], frame: Frame, touched: NDArray[np.bool_], colour: tuple[int, ...]
) -> Iterator[bytes]:
    """Yield the segments as they are to be; tables that had to grow stand before their scan."""
    tables, coded = Tables(), []
    for segment in segments:
        tables.update(segment)
        if segment.marker != SOS:
            yield segment_without_words(segment)
            continue
        components = _components(segment, frame)
        scan = _scan(segment, frame, tables, components)
        painted = touched if len(components) > 1 else _of_component(touched, frame, components[0])
        result = repaint(scan, painted.ravel(), _fills(frame, tables, colour))
        yield from (
            table_segment(name, table) for name, table in result.tables.items() if table is not scan.tables[name]
        )
        yield segment.raw + result.entropy
        coded += components
    if sorted(coded, key=frame.components.index) != list(frame.components):
        msg = "not one scan for each component"
        raise ValueError(msg)


def _components(segment: Segment, frame: Frame) -> list[Component]:
    """Read which components a scan carries (ISO/IEC 10918-1 B.2.3)."""
    payload = segment.payload
    count = payload[0] if payload else 0
    if not count or len(payload) != 4 + 2 * count or payload[-3:] != _WHOLE_BLOCKS:
        msg = "a scan that is not sequential"
        raise ValueError(msg)
    identifiers = payload[1:-3:2]
    components = [component for component in frame.components if component.identifier in identifiers]
    if bytes(component.identifier for component in components) != identifiers:
        msg = "a scan of components that the frame does not have, or in another order"
        raise ValueError(msg)
    if 1 < count < len(frame.components):
        msg = "a scan of some of the components"
        raise ValueError(msg)
    return components


def _scan(segment: Segment, frame: Frame, tables: Tables, components: list[Component]) -> Scan:
    """Lay a scan out: a lone component is coded block by block, several are by MCU (ISO/IEC 10918-1 A.2)."""
    plan: list[tuple[int, int, int]] = []
    is_interleaved = len(components) > 1
    for component, chosen in zip(components, segment.payload[2:-3:2], strict=True):
        blocks = component.vertical * component.horizontal if is_interleaved else 1
        plan += [(component.identifier, chosen >> 4, _AC | chosen & 15)] * blocks
    used = {name: tables.huffman.get(name) for _, *names in plan for name in names}
    known = {name: table for name, table in used.items() if table is not None}
    if len(known) < len(used):
        msg = "a scan without its Huffman tables"
        raise ValueError(msg)
    rows, columns = frame.mcus if is_interleaved else frame.blocks(components[0])
    return Scan(segment.entropy, tuple(plan), known, rows * columns, tables.restart_interval)


def _of_component(touched: NDArray[np.bool_], frame: Frame, component: Component) -> NDArray[np.bool_]:
    """Spread what is touched, by MCU, over the blocks of one component."""
    rows, columns = frame.blocks(component)
    return touched[np.ix_(np.arange(rows) // component.vertical, np.arange(columns) // component.horizontal)]


def _fills(frame: Frame, tables: Tables, colour: tuple[int, ...]) -> dict[int, int]:
    """Return the quantised DC value of a flat block, by component."""
    is_transformed = len(colour) > 1 and not _is_rgb(frame, tables)
    values = _to_ycbcr(*colour) if is_transformed else colour
    fills = {}
    for component, value in zip(frame.components, values, strict=True):
        step = tables.dc_steps.get(component.quantisation, 0)
        if not step:
            msg = "a component without its quantisation table"
            raise ValueError(msg)
        # The mean of a block is an eighth of its DC coefficient (ISO/IEC 10918-1 A.3.3). Black and white are met or
        # passed: decoders clamp.
        rounded = floor if value <= 0 else ceil if value >= _WHITE else round
        fills[component.identifier] = rounded((value - 128) * 8 / step)
    return fills


def _is_rgb(frame: Frame, tables: Tables) -> bool:
    """Whether decoders take the components as RGB: by JFIF, Adobe's transform, component identifiers, in this order."""
    if tables.is_jfif:
        return False
    if tables.adobe_transform is not None:
        return tables.adobe_transform == 0
    return bytes(component.identifier for component in frame.components) == b"RGB"


def _to_ycbcr(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Transform as JFIF does (ITU-T T.871, 7)."""
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return round(luma, 6), 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402
