"""Encapsulated pixel data: fragments to codestreams, one a frame, and back (PS3.5 A.4)."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets
from pydicom.uid import JPEGLosslessSV1

from dicom_node.errors import Hold
from dicom_node.redaction import codecs
from dicom_node.redaction.bulk import LARGE, Parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset
    from pydicom.uid import UID

    from dicom_node.model import Region
    from dicom_node.redaction.format import PixelFormat

_EXTENDED_OFFSETS_FROM = (1 << 32) - (1 << 20)
"""Basic Offset Table entries are 32 bits wide (PS3.5 A.4): beyond that the Extended Offset Table is needed."""

_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
_ITEM = b"\xfe\xff\x00\xe0"

_NOT_ITS_FRAMES = "the encapsulated pixel data holds more, or other, than its frames"


class EncapsulatedFrames:
    """One codestream a frame; those that are not written keep theirs byte for byte.

    Where the transfer syntax cannot hold an edited frame without another loss, all frames move to JPEG Lossless, the
    nearest that can.
    """

    def __init__(self, dataset: Dataset, pixels: PixelFormat) -> None:
        self.pixels = pixels
        self._codestreams = _codestreams(dataset, pixels.frames)
        _check_complete(dataset.PixelData, self._codestreams)
        self.actions: tuple[str, ...] = ()
        if any(codecs.has_thumbnail(codestream, pixels) for codestream in self._codestreams):
            self._codestreams = [codecs.without_thumbnail(codestream) for codestream in self._codestreams]
            self.actions = ("thumbnails in codestreams removed",)
        self._target: UID | None = None
        self._written: set[int] = set()
        self._has_offsets = bool(parse_basic_offsets(dataset.PixelData))
        self._has_extended_offsets = "ExtendedOffsetTable" in dataset

    def read(self, index: int) -> NDArray[Any]:
        """See :class:`~dicom_node.redaction.frames.Frames`."""
        samples = codecs.decode(self._codestreams[index], self.pixels).copy()
        if samples.dtype.kind == "i" and (samples.min() < self.pixels.lowest or samples.max() > self.pixels.highest):
            msg = "the codestream holds values outside Bits Stored"
            raise Hold(msg)
        return samples

    def grown(self, region: Region) -> Region:
        """See :class:`~dicom_node.redaction.frames.Frames`."""
        return codecs.grown(region, self._codestreams[region.first_frame], self.pixels)

    def write(self, index: int, samples: NDArray[Any], painted: Sequence[Region]) -> None:
        """See :class:`~dicom_node.redaction.frames.Frames`."""
        if self._target is None:
            self._target = codecs.target_syntax(self._codestreams, self.pixels)
        source = self._codestreams[index]
        if self._target == self.pixels.transfer_syntax:
            self._codestreams[index] = codecs.encode(samples, source, self.pixels, painted)
        else:
            self._written.add(index)
            self._codestreams[index] = codecs.encode(samples, source, self._lossless())

    def store(self, dataset: Dataset) -> None:
        """See :class:`~dicom_node.redaction.frames.Frames`."""
        if self._target not in {None, self.pixels.transfer_syntax}:
            self._move_to_lossless(dataset)
        lengths = [len(codestream) + len(codestream) % 2 for codestream in self._codestreams]
        offsets = list(accumulate((8 + length for length in lengths[:-1]), initial=0))
        table = b""
        if self._has_extended_offsets or offsets[-1] > _EXTENDED_OFFSETS_FROM:
            dataset.ExtendedOffsetTable = struct.pack(f"<{len(offsets)}Q", *offsets)
            dataset.ExtendedOffsetTableLengths = struct.pack(f"<{len(offsets)}Q", *map(len, self._codestreams))
        elif self._has_offsets or len(offsets) > 1:
            table = struct.pack(f"<{len(offsets)}I", *offsets)
        items = [part for content in (table, *self._codestreams) for part in _item(content)]
        dataset.PixelData = Parts(items) if offsets[-1] > LARGE else b"".join(items)
        if "EncapsulatedPixelDataValueTotalLength" in dataset:
            del dataset.EncapsulatedPixelDataValueTotalLength
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True

    def _lossless(self) -> PixelFormat:
        """Return the format after the move: what was decoded, as JPEG Lossless."""
        return replace(
            self.pixels,
            transfer_syntax=JPEGLosslessSV1,
            photometric_interpretation=codecs.colour_as_decoded(self.pixels),
            planar_configuration=0,
        )

    def _move_to_lossless(self, dataset: Dataset) -> None:
        lossless = self._lossless()
        for index in set(range(self.pixels.frames)) - self._written:
            source = self._codestreams[index]
            self._codestreams[index] = codecs.encode(codecs.decode(source, self.pixels), source, lossless)
        dataset.file_meta.TransferSyntaxUID = lossless.transfer_syntax
        dataset.PhotometricInterpretation = lossless.photometric_interpretation
        if lossless.samples > 1:
            dataset.PlanarConfiguration = 0
        self.actions = (*self.actions, "transfer syntax changed to JPEG Lossless")


def _item(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the header, content and padding of one item (PS3.5 A.4)."""
    padding = b"\0" * (len(content) % 2)
    return _ITEM + struct.pack("<I", len(content) + len(padding)), content, padding


def _codestreams(dataset: Dataset, frames: int) -> list[bytes]:
    extended = (
        (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in dataset else None
    )
    try:
        codestreams = list(generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=extended))
    except Exception as error:
        msg = f"the encapsulated pixel data cannot be divided into frames ({type(error).__name__})"
        raise Hold(msg) from error
    if len(codestreams) != frames:
        msg = f"Number of Frames says {frames}, the pixel data holds {len(codestreams)}"
        raise Hold(msg)
    return codestreams


def _check_complete(pixel_data: bytes, codestreams: list[bytes]) -> None:
    """Hold what an offset table leaves out: a fragment of no frame is not seen here, and may be elsewhere."""
    fragments = generate_fragments(pixel_data)
    length = 8 + len(next(fragments))  # the Basic Offset Table
    waiting = iter(codestreams)
    rest = memoryview(b"")
    for fragment in fragments:
        length += 8 + len(fragment)
        rest = _behind(rest or memoryview(next(waiting, b"")), fragment)
    if rest or next(waiting, None) is not None or pixel_data[length:] not in {b"", _SEQUENCE_DELIMITER}:
        raise Hold(_NOT_ITS_FRAMES)


def _behind(codestream: memoryview, fragment: bytes) -> memoryview:
    """Return what is left of a codestream behind the fragment that it begins with."""
    length = len(codestream)
    if length == len(fragment) - 1 and not fragment[-1]:  # lengths in an Extended Offset Table leave the padding out
        fragment = fragment[:-1]
    if not length or codestream[: len(fragment)] != fragment:
        raise Hold(_NOT_ITS_FRAMES)
    return codestream[len(fragment) :]
