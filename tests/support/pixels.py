"""What stands in pixel data, decoded by pydicom where it can: not by the code that is tested."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import av
import imagecodecs
import numpy as np
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import HTJ2KLossless, HTJ2KLosslessRPCL, JPEGExtended12Bit, MPEGTransferSyntaxes

from dicom_node.redaction.format import NATIVE
from dicom_node.redaction.frames import open_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset


def codestreams_of(dataset: Dataset) -> list[bytes]:
    """Divide encapsulated pixel data: one codestream a frame."""
    extended = (
        (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in dataset else None
    )
    return list(generate_frames(dataset.PixelData, number_of_frames=frames_in(dataset), extended_offsets=extended))


def frames_in(dataset: Dataset) -> int:
    """Read how many frames there are said to be."""
    return int(dataset.get("NumberOfFrames") or 1)


def containers_of(dataset: Dataset) -> NDArray[Any]:
    """Decode every frame as it is stored, sign put aside: shape (frames, rows, columns[, samples]).

    pydicom has no decoder for HTJ2K and video; what it makes of 12-bit JPEG is another rounding than the package's.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in {HTJ2KLossless, HTJ2KLosslessRPCL}:
        return np.stack([imagecodecs.jpeg2k_decode(codestream) for codestream in codestreams_of(dataset)])
    if syntax in MPEGTransferSyntaxes:
        return _pictures_of(dataset)
    if syntax == JPEGExtended12Bit:
        frames = open_frames(dataset)
        return np.stack([frames.read(index) for index in range(frames_in(dataset))])
    # pydicom takes what is stored for the lowest bits whatever High Bit says: native containers are read whole.
    decoded, _ = get_decoder(syntax).as_array(
        dataset, raw=True, bits_stored=dataset.BitsAllocated if syntax in NATIVE else dataset.BitsStored
    )
    samples = (dataset.SamplesPerPixel,) if dataset.SamplesPerPixel > 1 else ()
    containers = decoded.reshape(frames_in(dataset), dataset.Rows, dataset.Columns, *samples)
    return np.asarray(containers.astype(f"u{max(1, dataset.BitsAllocated // 8)}"))


def used_bits_of(dataset: Dataset, containers: NDArray[Any]) -> NDArray[Any]:
    """Return the containers without the bits outside Bits Stored."""
    mask = ((1 << dataset.BitsStored) - 1) << (dataset.HighBit + 1 - dataset.BitsStored)
    return np.asarray(containers & containers.dtype.type(mask))


def _pictures_of(dataset: Dataset) -> NDArray[Any]:
    """Decode a video, RGB."""
    stream = b"".join(list(generate_fragments(dataset.PixelData))[1:])
    with av.open(BytesIO(stream)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
