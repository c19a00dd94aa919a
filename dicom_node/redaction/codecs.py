"""One frame out of its codestream and, without loss, back into it.

The functions work on *codestream samples*: arrays of shape (rows, columns) or (rows, columns, samples), as they stand
in the codestream, before sign or unused bits are read into them. What the codestream says of itself (precision, sign,
colour transform) is trusted over the data set (PS3.5 8.2), and what an encoder wrote is decoded again before it is
used.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import imagecodecs
import jpeg_ls
import numpy as np
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MPEGTransferSyntaxes,
    RLELossless,
)

from dicom_node.errors import Hold
from dicom_node.redaction import jpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray
    from pydicom.uid import UID

    from dicom_node.model import Region
    from dicom_node.redaction.format import PixelFormat

    Decoder = Callable[[bytes, PixelFormat], NDArray[Any]]
    Encoder = Callable[[NDArray[Any], bytes, PixelFormat], bytes]

LOSSY_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
"""Processes in which encoding an edited frame again would lose everywhere in it."""

_J2K_SIZ = b"\xff\x4f\xff\x51"
_J2K_COD = b"\xff\x52"
_J2K_DATA = b"\xff\x93"
_END = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS, EOC of JPEG 2000: in none of them can it stand inside of coded data."""
_JPEG_FRAME_HEADERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_JPEG_SCAN = frozenset({0xDA})
_JPEG_START = b"\xff\xd8"
_APPLICATION_DATA = re.compile(rb"\xff[\xe0-\xef](?=(..))", re.DOTALL)
"""APPn and its length: these two bytes cannot stand in coded data (ISO/IEC 10918-1 B.1.1.5, 14495-1 A.1)."""
_PICTURE_SIZED = 64
"""Bytes from which application data is taken for a picture; the headers of JFIF, Adobe and SPIFF are shorter."""
_FILE_SIZED = 4096
"""Bytes from which the same is said of the boxes of a JP2 file, which hold a colour profile of some kilobytes."""
_FILL = 0xFF


def decode(fragment: bytes, pixels: PixelFormat) -> NDArray[Any]:
    """Decode one frame.

    Returns
    -------
    numpy.ndarray
        Shape (rows, columns) or (rows, columns, samples). Colour comes as RGB where the codestream transforms it
        (JPEG with YCbCr, JPEG 2000 with ICT or RCT), otherwise as it was stored.

    Raises
    ------
    Hold
        Without a decoder for the transfer syntax, when decoding fails, when size, samples or depth are not those of the
        data set, and when the codestream has no end or something stands behind it: a second picture would be unseen.
    """
    decoder = _DECODERS.get(pixels.transfer_syntax)
    if decoder is None:
        msg = f"no decoder for transfer syntax {pixels.transfer_syntax.name}"
        raise Hold(msg)
    try:
        is_complete = pixels.transfer_syntax == RLELossless or _ends_with_itself(fragment)
        samples = decoder(fragment, pixels)
    except Exception as error:
        msg = f"the pixel data cannot be decoded as {pixels.transfer_syntax.name} ({type(error).__name__})"
        raise Hold(msg) from error
    if not is_complete:
        msg = "the codestream is cut off, or something stands behind its end"
        raise Hold(msg)
    if samples.shape != pixels.shape or not pixels.bits_stored <= samples.dtype.itemsize * 8 <= pixels.bits_allocated:
        msg = "the codestream's size, samples or depth are not those of the data set"
        raise Hold(msg)
    return samples


def encode(samples: NDArray[Any], source: bytes, pixels: PixelFormat, painted: Sequence[Region] = ()) -> bytes:
    """Encode one changed frame in its transfer syntax, with the precision and colour transform of ``source``.

    Baseline and extended JPEG are not encoded again: only the blocks under ``painted`` change, in the DCT domain.

    Raises
    ------
    Hold
        When no encoder can do so without loss, which is checked by decoding the result.
    """
    if pixels.transfer_syntax in LOSSY_JPEG:
        return _repainted(samples, source, painted)
    encoder = _ENCODERS.get(pixels.transfer_syntax)
    if encoder is None:
        msg = f"there is text to remove, and {pixels.transfer_syntax.name} cannot be written without loss"
        raise Hold(msg)
    try:
        encoded = encoder(samples, source, pixels)
        again = _DECODERS[pixels.transfer_syntax](encoded, pixels)
    except Exception as error:
        msg = f"the cleaned frame cannot be encoded as {pixels.transfer_syntax.name} ({type(error).__name__})"
        raise Hold(msg) from error
    if not np.array_equal(again, samples):
        msg = f"the cleaned frame does not survive encoding as {pixels.transfer_syntax.name} without loss"
        raise Hold(msg)
    return encoded


def target_syntax(codestreams: Iterable[bytes], pixels: PixelFormat) -> UID:
    """Return the transfer syntax that edited frames go out in: JPEG Lossless where theirs cannot hold them."""
    is_lossy_jpeg = pixels.transfer_syntax in LOSSY_JPEG
    is_kept = not is_lossy_jpeg or all(jpeg.editable(codestream) for codestream in codestreams)
    return pixels.transfer_syntax if is_kept else JPEGLosslessSV1


def grown(region: Region, codestream: bytes, pixels: PixelFormat) -> Region:
    """Return what changes when a region is painted: whole minimum coded units where blocks are edited."""
    if pixels.transfer_syntax not in LOSSY_JPEG or not jpeg.editable(codestream):
        return region
    areas = jpeg.grown(codestream, [(region.row, region.column, region.height, region.width)])
    if not areas:
        return region
    row, column, height, width = areas[0]
    return replace(region, row=row, column=column, height=height, width=width)


def has_thumbnail(codestream: bytes, pixels: PixelFormat) -> bool:
    """Whether a JPEG codestream carries application data in which the picture can stand a second time, in small.

    Raises
    ------
    Hold
        When such data stands where it cannot be taken out: in JPEG Lossless or JPEG-LS, in a codestream that cannot be
        divided, in a file format around JPEG 2000 (PS3.5 8.2.4 allows none).
    """
    if pixels.transfer_syntax in LOSSY_JPEG and jpeg.has_thumbnail(codestream):
        return True
    if pixels.transfer_syntax != RLELossless and _carries_more(codestream):
        msg = "the codestream carries other data, in which the picture can stand a second time"
        raise Hold(msg)
    return False


def without_thumbnail(codestream: bytes) -> bytes:
    """Return the codestream without application data; its coded pictures stay bit for bit."""
    return jpeg.without_words(codestream)


def _repainted(samples: NDArray[Any], source: bytes, painted: Sequence[Region]) -> bytes:
    """Give the blocks under each region the colour that was painted there; one edit for each colour."""
    by_colour: dict[tuple[int, ...], list[tuple[int, int, int, int]]] = {}
    for region in painted:
        colour = tuple(int(value) for value in np.atleast_1d(samples[region.row, region.column]))
        by_colour.setdefault(colour, []).append((region.row, region.column, region.height, region.width))
    try:
        for colour, regions in by_colour.items():
            source = jpeg.paint(source, regions, colour)
    except ValueError as error:
        msg = "the JPEG codestream cannot be edited"
        raise Hold(msg) from error
    return source


def colour_as_decoded(pixels: PixelFormat) -> str:
    """Photometric Interpretation of what :func:`decode` returns (its codecs invert the codestream's transform)."""
    transformed = {"YBR_ICT", "YBR_RCT"}
    if pixels.transfer_syntax in LOSSY_JPEG:
        transformed |= {"YBR_FULL", "YBR_FULL_422"}
    if pixels.transfer_syntax in MPEGTransferSyntaxes:
        return "RGB"
    return "RGB" if pixels.photometric_interpretation in transformed else pixels.photometric_interpretation


def _decode_jpeg(fragment: bytes, _pixels: PixelFormat) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg8_decode(fragment))


def _encode_jpeg_lossless(samples: NDArray[Any], source: bytes, _pixels: PixelFormat) -> bytes:
    # Predictor 1 is what Selection Value 1 asks for (PS3.5 8.2.1), and process 14 allows it.
    colour = "rgb" if samples.ndim > 2 else None  # noqa: PLR2004 - has samples
    return bytes(
        imagecodecs.jpeg8_encode(
            samples,
            lossless=True,
            predictor=1,
            bitspersample=_jpeg_precision(source),
            colorspace=colour,
            outcolorspace=colour,
        )
    )


def _decode_jpeg_ls(fragment: bytes, _pixels: PixelFormat) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpegls_decode(fragment))


def _encode_jpeg_ls(samples: NDArray[Any], source: bytes, pixels: PixelFormat) -> bytes:
    interleave_by_sample = 2 if pixels.samples > 1 else 0
    encoded = jpeg_ls.encode_buffer(
        np.ascontiguousarray(samples).tobytes(),
        pixels.rows,
        pixels.columns,
        pixels.samples,
        _jpeg_precision(source),
        0,
        interleave_by_sample,
    )
    return bytes(encoded)


def _decode_jpeg_2000(fragment: bytes, _pixels: PixelFormat) -> NDArray[Any]:
    return np.asarray(imagecodecs.jpeg2k_decode(fragment))


def _encode_jpeg_2000(samples: NDArray[Any], source: bytes, _pixels: PixelFormat) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(
            samples,
            level=0,
            codecformat="j2k",
            reversible=True,
            mct=_j2k_transforms_colour(source),
            bitspersample=_j2k_precision(source),
        )
    )


def _encode_htj2k(samples: NDArray[Any], source: bytes, pixels: PixelFormat) -> bytes:
    # The encoder's progression is RPCL; what the RPCL syntax asks for beside it are TLM segments (PS3.5 8.2.14).
    tlm = pixels.transfer_syntax == HTJ2KLosslessRPCL
    return bytes(imagecodecs.htj2k_encode(samples, reversible=True, rgb=_j2k_transforms_colour(source), tlm=tlm))


def _decode_rle(fragment: bytes, pixels: PixelFormat) -> NDArray[Any]:
    planes = np.frombuffer(imagecodecs.dicomrle_decode(fragment, f"<u{pixels.bits_allocated // 8}"), _unsigned(pixels))
    if pixels.samples == 1:
        return planes.reshape(pixels.shape)
    return planes.reshape(pixels.samples, pixels.rows, pixels.columns).transpose(1, 2, 0)


def _encode_rle(samples: NDArray[Any], _source: bytes, pixels: PixelFormat) -> bytes:
    return bytes(
        RLELosslessEncoder.encode(
            np.ascontiguousarray(samples).tobytes(),
            encoding_plugin="pydicom",
            rows=pixels.rows,
            columns=pixels.columns,
            samples_per_pixel=pixels.samples,
            bits_allocated=pixels.bits_allocated,
            bits_stored=pixels.bits_allocated,
            pixel_representation=0,
            photometric_interpretation=pixels.photometric_interpretation,
            number_of_frames=1,
            planar_configuration=0,
        )
    )


def _unsigned(pixels: PixelFormat) -> str:
    return f"<u{pixels.bits_allocated // 8}"


def _jpeg_segment(codestream: bytes, markers: frozenset[int]) -> int:
    """Return where the first marker segment of a kind begins (ISO/IEC 10918-1 B.1.1.4, 14495-1 C.1.1.4)."""
    position = 2
    while position + 5 <= len(codestream):
        marker = codestream[position + 1]
        if marker in markers:
            return position
        if marker in _JPEG_SCAN:
            break
        is_fill = marker == _FILL  # any number of these may stand before a marker
        position += 1 if is_fill else 2 + int.from_bytes(codestream[position + 2 : position + 4])
    msg = "no such marker segment before the first scan"
    raise ValueError(msg)


def _jpeg_precision(codestream: bytes) -> int:
    """Sample precision from the frame header (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2)."""
    return codestream[_jpeg_segment(codestream, _JPEG_FRAME_HEADERS) + 4]


def _ends_with_itself(codestream: bytes) -> bool:
    """Whether the first end of a codestream is the last, but for padding; decoders stop there, and tell nobody."""
    if codestream.startswith(_JPEG_START):
        data = _jpeg_segment(codestream, _JPEG_SCAN)
    else:
        data = codestream.index(_J2K_DATA, codestream.index(_J2K_SIZ))
    end = codestream.find(_END, data)
    behind = codestream[end + 2 :]
    return end >= 0 and (len(behind) <= 1 or not any(behind))


def _carries_more(codestream: bytes) -> bool:
    """Whether application data, or boxes before a JPEG 2000 codestream, are as large as a picture in small."""
    if codestream.startswith(_JPEG_START):
        found = _APPLICATION_DATA.finditer(codestream)
        return any(int.from_bytes(segment[1]) >= _PICTURE_SIZED for segment in found)
    boxes = codestream[: max(0, codestream.find(_J2K_SIZ))]
    return len(boxes) >= _FILE_SIZED or b"uuid" in boxes


def _j2k_precision(codestream: bytes) -> int:
    """Bits per sample from the SIZ segment (ISO/IEC 15444-1 A.5.1)."""
    ssiz = codestream[codestream.index(_J2K_SIZ) + 42]
    return (ssiz & 0x7F) + 1


def _j2k_transforms_colour(codestream: bytes) -> bool:
    """Multiple component transformation from the COD segment (ISO/IEC 15444-1 A.6.1)."""
    start = codestream.index(_J2K_SIZ)
    cod = codestream.index(_J2K_COD, start + 4 + int.from_bytes(codestream[start + 4 : start + 6]))
    return codestream[cod + 8] == 1


_DECODERS: dict[str, Decoder] = {
    JPEGBaseline8Bit: _decode_jpeg,
    JPEGExtended12Bit: _decode_jpeg,
    JPEGLossless: _decode_jpeg,
    JPEGLosslessSV1: _decode_jpeg,
    JPEGLSLossless: _decode_jpeg_ls,
    JPEGLSNearLossless: _decode_jpeg_ls,
    JPEG2000Lossless: _decode_jpeg_2000,
    JPEG2000: _decode_jpeg_2000,
    HTJ2KLossless: _decode_jpeg_2000,
    HTJ2KLosslessRPCL: _decode_jpeg_2000,
    HTJ2K: _decode_jpeg_2000,
    RLELossless: _decode_rle,
}

# JPEG-LS near-lossless, JPEG 2000 and HTJ2K "lossy" syntaxes hold lossless codestreams as well (PS3.5 8.2.3, 8.2.4):
# an edited frame is written so, and no second loss happens. Baseline and extended JPEG have no such form.
_ENCODERS: dict[str, Encoder] = {
    JPEGLossless: _encode_jpeg_lossless,
    JPEGLosslessSV1: _encode_jpeg_lossless,
    JPEGLSLossless: _encode_jpeg_ls,
    JPEGLSNearLossless: _encode_jpeg_ls,
    JPEG2000Lossless: _encode_jpeg_2000,
    JPEG2000: _encode_jpeg_2000,
    HTJ2KLossless: _encode_htj2k,
    HTJ2KLosslessRPCL: _encode_htj2k,
    HTJ2K: _encode_htj2k,
    RLELossless: _encode_rle,
}
