"""Stored values in and out, one frame at a time, whatever the transfer syntax.

A *sample* is what stands in the container (Bits Allocated wide, or as the codestream gives it); a *stored value* is the
number in it, between :attr:`PixelFormat.lowest` and :attr:`PixelFormat.highest` (PS3.5 8.1.1). Frames are read and
written as samples, so that what is not painted stays as it was.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydicom.uid import ExplicitVRBigEndian, MPEGTransferSyntaxes

from dicom_node.errors import Hold
from dicom_node.redaction.bulk import Parts
from dicom_node.redaction.encapsulated import EncapsulatedFrames
from dicom_node.redaction.format import PixelFormat, pixel_format
from dicom_node.redaction.video import VideoFrames

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_node.model import Region


_WORD = 2


class Frames(Protocol):
    """The frames of one instance."""

    pixels: PixelFormat

    @property
    def actions(self) -> tuple[str, ...]:
        """What :meth:`store` does beside the frames' samples, in words; complete once it was called."""

    def read(self, index: int) -> NDArray[Any]:
        """Return the samples of one frame, as a copy of shape :attr:`PixelFormat.shape`."""

    def grown(self, region: Region) -> Region:
        """Return what changes when a region is painted: more, where pixels are stored together."""

    def write(self, index: int, samples: NDArray[Any], painted: Sequence[Region]) -> None:
        """Replace the samples of one frame, in which these (grown) regions were painted."""

    def store(self, dataset: Dataset) -> None:
        """Put the frames back into the data set; only called when there was a write, or there are actions."""


def open_frames(dataset: Dataset) -> Frames:
    """Open the pixel data of an instance.

    Raises
    ------
    Hold
        When there is none that can be redacted, or when its length contradicts the Image Pixel module: hidden frames
        carry identity as well.
    """
    is_float = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
    if is_float or not dataset.get("PixelData"):
        kind = "float pixel data" if is_float else "no pixel data"
        msg = f"{kind}: only a route with the policy `pass` forwards it"
        raise Hold(msg)
    pixels = pixel_format(dataset)
    if pixels.transfer_syntax in MPEGTransferSyntaxes:
        return VideoFrames(dataset, pixels)
    if not pixels.is_native:
        return EncapsulatedFrames(dataset, pixels)
    return _BitFrames(dataset, pixels) if pixels.bits_allocated == 1 else _NativeFrames(dataset, pixels)


def stored_values(samples: NDArray[Any], pixels: PixelFormat) -> NDArray[Any]:
    """Read stored values out of samples: the bits below High Bit, with their sign (PS3.5 8.1.1).

    Returns
    -------
    numpy.ndarray
        int32 for samples of up to 16 bits, int64 for larger ones: room for products with 255.
    """
    values: NDArray[Any] = samples.astype(np.int32 if samples.dtype.itemsize <= _WORD else np.int64)
    is_whole = pixels.bits_stored == samples.dtype.itemsize * 8 and not pixels.signed
    if samples.dtype.kind == "i" or is_whole:  # a signed codestream has done it; there is nothing to cut off
        return values
    if shift := _shift(pixels):
        values >>= shift
    values &= (1 << pixels.bits_stored) - 1
    if pixels.signed:
        sign = 1 << (pixels.bits_stored - 1)
        values ^= sign
        values -= sign
    return values


def clear_unused_bits(samples: NDArray[Any], pixels: PixelFormat) -> NDArray[Any]:
    """Zero what stands outside Bits Stored, where retired overlays hide (PS3.5 8.1.1, PS3.3-2004 C.9.2).

    Signed values keep their sign extension where the whole frame has it: it is what such images look like. Where only
    some pixels have it, it is a plane of its own, and all get it.
    """
    if samples.dtype.kind == "i" or pixels.bits_stored == samples.dtype.itemsize * 8:
        return samples
    used = ((1 << pixels.bits_stored) - 1) << _shift(pixels)
    if not pixels.signed:
        return np.asarray(samples & samples.dtype.type(used))
    extended = stored_values(samples, pixels) << _shift(pixels)
    container = np.array(extended, dtype=np.int64) & ((1 << (samples.dtype.itemsize * 8)) - 1)
    is_zero = np.array_equal(samples & samples.dtype.type(used), samples)
    return samples if is_zero else container.astype(samples.dtype)


def sample_of(value: int, like: NDArray[Any], pixels: PixelFormat) -> int:
    """Return the sample that holds a stored value, in a frame with such samples."""
    if like.dtype.kind == "i":
        return value
    shifted = value << _shift(pixels)
    if pixels.is_native:
        return shifted & ((1 << pixels.bits_allocated) - 1)
    return shifted & (((1 << pixels.bits_stored) - 1) << _shift(pixels))


def _shift(pixels: PixelFormat) -> int:
    return pixels.high_bit + 1 - pixels.bits_stored


class _NativeFrames:
    """Uncompressed samples of 8, 16 or 32 bits, colour by pixel or by plane."""

    actions = ()

    def __init__(self, dataset: Dataset, pixels: PixelFormat) -> None:
        self.pixels = pixels
        self._swapped = _is_swapped(dataset, pixels)
        value = dataset["PixelData"].value
        self._is_mapped = isinstance(value, Parts) and not self._swapped
        content = value.memory if isinstance(value, Parts) else value
        self._bytes = content if self._is_mapped else _swap(content) if self._swapped else bytearray(content)
        order = ">" if pixels.transfer_syntax == ExplicitVRBigEndian else "<"
        dtype = np.dtype(f"{order}u{pixels.bits_allocated // 8}")
        layout = (pixels.frames, *self._frame_layout())
        length = math.prod(layout) * dtype.itemsize
        _check_length(self._bytes, length)
        self._samples = np.frombuffer(self._bytes, dtype, count=length // dtype.itemsize).reshape(layout)

    def _frame_layout(self) -> tuple[int, ...]:
        pixels = self.pixels
        if pixels.is_subsampled:
            return (pixels.rows, pixels.columns // 2, 4)
        if pixels.samples > 1 and pixels.planar_configuration == 1:
            return (pixels.samples, pixels.rows, pixels.columns)
        return pixels.shape

    def read(self, index: int) -> NDArray[Any]:
        stored: NDArray[Any] = self._samples[index].astype(self._samples.dtype.newbyteorder("="))
        if self.pixels.is_subsampled:
            return _from_422(stored)
        return stored if stored.shape == self.pixels.shape else np.moveaxis(stored, 0, -1)

    def grown(self, region: Region) -> Region:
        if not self.pixels.is_subsampled:
            return region
        left, right = region.column - region.column % 2, region.column + region.width
        return replace(region, column=left, width=right + right % 2 - left)

    def write(self, index: int, samples: NDArray[Any], painted: Sequence[Region]) -> None:  # noqa: ARG002 - Frames'
        if self.pixels.is_subsampled:
            self._samples[index] = _to_422(samples)
        elif self._samples[index].shape != samples.shape:
            self._samples[index] = np.moveaxis(samples, -1, 0)
        else:
            self._samples[index] = samples

    def store(self, dataset: Dataset) -> None:
        if not self._is_mapped:  # otherwise the samples stand in the value itself
            dataset.PixelData = bytes(_swap(self._bytes) if self._swapped else self._bytes)


class _BitFrames:
    """Uncompressed samples of one bit, packed across frame borders, first pixel in the lowest bit (PS3.5 8.1.1)."""

    actions = ()

    def __init__(self, dataset: Dataset, pixels: PixelFormat) -> None:
        self.pixels = pixels
        self._swapped = _is_swapped(dataset, pixels)
        value = dataset["PixelData"].value
        content = value.memory if isinstance(value, Parts) else value
        self._bytes = _swap(content) if self._swapped else bytearray(content)
        count = pixels.frames * pixels.rows * pixels.columns
        _check_length(self._bytes, -(-count // 8))
        self._bits = np.unpackbits(np.frombuffer(self._bytes, np.uint8), bitorder="little")
        self._samples = self._bits[:count].reshape(pixels.frames, pixels.rows, pixels.columns)

    def read(self, index: int) -> NDArray[Any]:
        return np.array(self._samples[index])

    def grown(self, region: Region) -> Region:
        return region

    def write(self, index: int, samples: NDArray[Any], painted: Sequence[Region]) -> None:  # noqa: ARG002 - Frames'
        self._samples[index] = samples

    def store(self, dataset: Dataset) -> None:
        packed = np.packbits(self._bits, bitorder="little").tobytes()
        dataset.PixelData = bytes(_swap(packed)) if self._swapped else packed


def _check_length(content: bytearray | memoryview, expected: int) -> None:
    """Hold what is too short, and what has anything but padding behind its last frame."""
    if len(content) < expected:
        msg = f"the pixel data holds {len(content)} bytes, {expected} are needed"
        raise Hold(msg)
    if any(content[expected:]):
        msg = f"the pixel data holds {len(content) - expected} bytes behind its last frame"
        raise Hold(msg)


def _is_swapped(dataset: Dataset, pixels: PixelFormat) -> bool:
    """Tell whether samples of a byte or less stand in 16-bit big endian words (PS3.5 A.3, D.2)."""
    return (
        pixels.transfer_syntax == ExplicitVRBigEndian
        and pixels.bits_allocated <= 8  # noqa: PLR2004 - bits of a byte
        and dataset["PixelData"].VR == "OW"
    )


def _swap(content: bytes | bytearray | memoryview) -> bytearray:
    if len(content) % 2:
        msg = "the pixel data is said to be 16-bit words, and is odd"
        raise Hold(msg)
    return bytearray(np.frombuffer(content, np.uint16).byteswap().tobytes())


def _from_422(stored: NDArray[Any]) -> NDArray[Any]:
    """(rows, columns / 2, Y Y Cb Cr) to (rows, columns, 3), both pixels with the chrominance they share."""
    luminance = stored[..., :2].reshape(stored.shape[0], -1)
    chrominance = np.repeat(stored[..., 2:], 2, axis=1)
    return np.concatenate([luminance[..., None], chrominance], axis=2)


def _to_422(samples: NDArray[Any]) -> NDArray[Any]:
    luminance = samples[..., 0].reshape(samples.shape[0], -1, 2)
    return np.concatenate([luminance, samples[:, ::2, 1:]], axis=2)
