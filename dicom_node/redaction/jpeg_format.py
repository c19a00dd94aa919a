"""Marker segments of a sequential JPEG codestream: its frame, its tables, its scans (ISO/IEC 10918-1 B)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from dicom_node.redaction.jpeg_huffman import HuffmanTable

SOS = 0xDA
_SOI, _EOI, _DQT, _DNL, _DRI, _DHT = 0xD8, 0xD9, 0xDB, 0xDC, 0xDD, 0xC4
_SEQUENTIAL = frozenset({0xC0, 0xC1})
"""SOF0 baseline and SOF1 extended, both Huffman sequential DCT."""
_OTHER_FRAMES = frozenset({0xC2, 0xC3, *range(0xC5, 0xD0), _DNL, 0xDE, 0xDF})
"""Other processes, arithmetic coding, hierarchical frames, a height that is told later."""
_APP0, _APP14, _COM = 0xE0, 0xEE, 0xFE
_WORDS = frozenset({*range(_APP0, 0xF0), _COM})
"""Application data and comments."""

_MARKER_AFTER_SCAN = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
_BLOCK = 8
_MOST_BLOCKS = 10
"""In one interleaved MCU (ISO/IEC 10918-1 B.2.3)."""
_GREY, _COLOUR = 1, 3


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the frame header; sampling factors of a lone component count as 1 (ISO/IEC 10918-1 A.2.2)."""

    identifier: int
    vertical: int
    horizontal: int
    quantisation: int


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame header (ISO/IEC 10918-1 B.2.2)."""

    rows: int
    columns: int
    components: tuple[Component, ...]

    @property
    def mcu(self) -> tuple[int, int]:
        """Height and width of an MCU of all components, in pixels."""
        return (
            _BLOCK * max(component.vertical for component in self.components),
            _BLOCK * max(component.horizontal for component in self.components),
        )

    @property
    def mcus(self) -> tuple[int, int]:
        """Rows and columns of such MCUs."""
        height, width = self.mcu
        return -(-self.rows // height), -(-self.columns // width)

    def blocks(self, component: Component) -> tuple[int, int]:
        """Return rows and columns of blocks of a component in a scan of its own (ISO/IEC 10918-1 A.2.2)."""
        height, width = self.mcu
        return -(-self.rows * component.vertical // height), -(-self.columns * component.horizontal // width)


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker segment as it stands in the codestream, and the entropy-coded data behind it when it begins a scan."""

    marker: int
    raw: bytes
    entropy: bytes = b""

    @property
    def payload(self) -> bytes:
        """What stands behind marker and length."""
        return self.raw[4:]


@dataclass(slots=True)
class Tables:
    """What is in force at a scan: quantisation step of DC by table, Huffman tables, restart interval, colour."""

    dc_steps: dict[int, int] = field(default_factory=dict)
    huffman: dict[int, HuffmanTable] = field(default_factory=dict)
    restart_interval: int = 0
    is_jfif: bool = False
    adobe_transform: int | None = None

    def update(self, segment: Segment) -> None:
        """Take in what a segment says; those that say nothing of the coding are passed over."""
        payload = segment.payload
        if segment.marker == _DQT:
            self.dc_steps.update(_dc_steps(payload))
        elif segment.marker == _DHT:
            self.huffman.update(_huffman_tables(payload))
        elif segment.marker == _DRI:
            self.restart_interval = int.from_bytes(payload[:2])
        elif segment.marker == _APP0 and payload.startswith(b"JFIF\0"):
            self.is_jfif = True
        elif segment.marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:  # noqa: PLR2004 - its size
            self.adobe_transform = payload[11]


def segments_of(codestream: bytes) -> list[Segment]:
    """Split a codestream at its markers; SOI and EOI are left out (ISO/IEC 10918-1 B.1.1)."""
    if codestream[:2] != bytes((0xFF, _SOI)):
        msg = "the codestream does not begin as JPEG"
        raise ValueError(msg)
    segments, position = [], 2
    while True:
        marker, position = _marker(codestream, position)
        if marker == _EOI:
            break
        segment = _segment(marker, codestream, position)
        position += len(segment.raw) - 2 + len(segment.entropy)
        segments.append(segment)
    if codestream[position:].strip(b"\0"):
        msg = "something stands behind the end of the codestream"
        raise ValueError(msg)
    return segments


def _marker(codestream: bytes, position: int) -> tuple[int, int]:
    """Return the marker at a position, and where it ends; any number of fill bytes may stand before it."""
    start = position
    while codestream[position : position + 1] == b"\xff":
        position += 1
    if position == start or position >= len(codestream):
        msg = "the codestream is cut off, or has no marker where one has to be"
        raise ValueError(msg)
    return codestream[position], position + 1


def _segment(marker: int, codestream: bytes, position: int) -> Segment:
    size = int.from_bytes(codestream[position : position + 2])
    end = position + size
    if size < 2 or end > len(codestream) or marker in _OTHER_FRAMES or marker < 0xC0 or marker == _SOI:  # noqa: PLR2004 - the length counts itself; SOF0
        msg = "a marker segment is cut off, or of a coding process that is not edited"
        raise ValueError(msg)
    raw = bytes((0xFF, marker)) + codestream[position:end]
    if marker != SOS:
        return Segment(marker, raw)
    following = _MARKER_AFTER_SCAN.search(codestream, end)
    if following is None:
        msg = "the codestream is cut off in a scan"
        raise ValueError(msg)
    return Segment(marker, raw, codestream[end : following.start()])


def frame_of(segments: list[Segment]) -> Frame:
    """Read the one frame header, and refuse what is not edited."""
    headers = [segment.payload for segment in segments if segment.marker in _SEQUENTIAL]
    if len(headers) != 1 or len(headers[0]) < 6:  # noqa: PLR2004 - the fixed part of a frame header
        msg = "not one frame of sequential DCT"
        raise ValueError(msg)
    header = headers[0]
    rows, columns, count = int.from_bytes(header[1:3]), int.from_bytes(header[3:5]), header[5]
    if header[0] != _BLOCK or not rows or not columns or count not in {_GREY, _COLOUR} or len(header) != 6 + 3 * count:
        msg = "not 8 bit with one or three components"
        raise ValueError(msg)
    components = [
        Component(identifier, sampling & 15, sampling >> 4, table)
        for identifier, sampling, table in (header[6 + 3 * index : 9 + 3 * index] for index in range(count))
    ]
    if count == _GREY:
        components = [replace(components[0], vertical=1, horizontal=1)]
    frame = Frame(rows, columns, tuple(components))
    if not _is_usual_sampling(frame) or len({component.identifier for component in components}) != count:
        msg = "unusual sampling factors or component identifiers"
        raise ValueError(msg)
    return frame


def _is_usual_sampling(frame: Frame) -> bool:
    """Whether each component is sampled in whole steps of the finest, and an MCU is of lawful size."""
    factors = [(component.vertical, component.horizontal) for component in frame.components]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):  # noqa: PLR2004 - ISO/IEC 10918-1 B.2.2
        return False
    whole = all(max(column) % factor == 0 for column in zip(*factors, strict=True) for factor in column)
    return whole and sum(vertical * horizontal for vertical, horizontal in factors) <= _MOST_BLOCKS


def is_thumbnail(segment: Segment) -> bool:
    """Whether a segment is application data that can hold a picture: anything but plain JFIF, Adobe and comments."""
    return segment.marker != _COM and segment_without_words(segment) != segment.raw


def segment_without_words(segment: Segment) -> bytes:
    """Return a segment without what could show or tell the picture a second time: comments, EXIF, thumbnails."""
    if segment.marker == _APP0 and segment.payload.startswith(b"JFIF\0"):
        return segment.raw[:2] + b"\0\x10" + segment.payload[:12] + b"\0\0"
    is_adobe = segment.marker == _APP14 and segment.payload.startswith(b"Adobe")
    return b"" if segment.marker in _WORDS and not is_adobe else segment.raw


def table_segment(name: int, table: HuffmanTable) -> bytes:
    """Write a DHT segment (ISO/IEC 10918-1 B.2.4.2)."""
    payload = bytes((name,)) + table.counts + table.symbols
    return bytes((0xFF, _DHT)) + (len(payload) + 2).to_bytes(2) + payload


def _dc_steps(payload: bytes) -> dict[int, int]:
    """Read the quantisation step of DC from each table of a DQT segment (ISO/IEC 10918-1 B.2.4.1)."""
    steps = {}
    while payload:
        width = 2 if payload[0] >> 4 else 1
        if len(payload) < 1 + 64 * width:
            msg = "a quantisation table is cut off"
            raise ValueError(msg)
        steps[payload[0] & 15] = int.from_bytes(payload[1 : 1 + width])
        payload = payload[1 + 64 * width :]
    return steps


def _huffman_tables(payload: bytes) -> dict[int, HuffmanTable]:
    """Read the tables of a DHT segment, by class and destination (ISO/IEC 10918-1 B.2.4.2)."""
    tables = {}
    while payload:
        counts = payload[1:17]
        end = 17 + sum(counts)
        if len(payload) < end:
            msg = "a Huffman table is cut off"
            raise ValueError(msg)
        tables[payload[0]] = HuffmanTable(counts, payload[17:end])
        payload = payload[end:]
    return tables
