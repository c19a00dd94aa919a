"""Video: the one stream of an instance, decoded forward, painted in its own colour space and encoded again.

MPEG-2, H.264 and HEVC are inherently lossy and predict frames from one another (PS3.5 8.2.5 to 8.2.12), so a stream in
which one frame changes is encoded anew as a whole: same transfer syntax, container, size, frame rate and frame count.
What comes out is decoded before it is used. Sound and captions are removed: they can say a name.

PyAV (``av``) does the work, and is optional: its own code is BSD-3-Clause, its wheels carry FFmpeg (LGPL-3.0-or-later
as built) together with x264 and x265 (GPL-2.0-or-later), so who passes such a wheel on does so under the GPL. Without
it, video is held.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pydicom import uid
from pydicom.encaps import encapsulate, generate_fragments

from dicom_node.errors import Hold
from dicom_node.redaction.attributes import add_lossy_compression
from dicom_node.redaction.video_planes import is_plain, paint, place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import ModuleType

    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video import _VideoCodecName
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray
    from pydicom import Dataset

    from dicom_node.model import Region
    from dicom_node.redaction.format import PixelFormat
    from dicom_node.redaction.video_planes import Painted

    Picture = NDArray[np.uint8]

_PADDING = 32
"""A coded picture is larger than the one that is shown by less than this; more would be a hidden picture."""

_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
_LONGEST_FRAGMENT = (1 << 32) - 2

_CAPTIONS = re.compile(rb"(?:\xb5\x00\x31|\x00\x00\x01\xb2)GA94")
"""Closed captions in the user data of H.264, HEVC (SEI) and MPEG-2 (ATSC A/53 part 4, 6.2.3)."""

_START_OF_UNIT = re.compile(rb"\x00\x00\x01(..)", re.DOTALL)
_UNSEEN_H264_UNITS = frozenset({15, 19, 20, 21})
"""Auxiliary pictures and those of further layers or views (ITU-T H.264 table 7-1): the decoder passes them over."""

_PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True, slots=True)
class _Family:
    """A standard: how its decoder, its encoder and its bare stream are called, and what DICOM calls the method."""

    decoder: str
    encoder: str
    method: str
    bare: tuple[str, str]


_MPEG2 = _Family("mpeg2video", "mpeg2video", "ISO_13818_2", ("mpegvideo", "mpeg2video"))
_H264 = _Family("h264", "libx264", "ISO_14496_10", ("h264", "h264"))
_HEVC = _Family("hevc", "libx265", "ISO_23008_2", ("hevc", "hevc"))


def _mpeg2(level: int, bits_per_second: int, buffer: int) -> dict[str, str]:
    """Quantiser 2 where the bit rate and buffer of the level allow it (ISO/IEC 13818-2 tables 8-12 and 8-13)."""
    limit = {"b": f"{bits_per_second * 4 // 5}", "maxrate": f"{bits_per_second}", "bufsize": f"{buffer}"}
    closed = {"flags": "+cgop", "sc_threshold": "1000000000"}  # the encoder has no closed groups with scene detection
    return {"profile": "4", "level": f"{level}", "bf": "2", "qmin": "2", **closed, **limit}


def _h264(level: str, limits: str = "vbv-maxrate=62500:vbv-bufsize=62500") -> dict[str, str]:
    """Constant quality within the level (ITU-T H.264 table A-1), closed groups of pictures."""
    return {"profile": "high", "level": level, "crf": "17", "preset": "medium", "x264-params": limits}


_BLU_RAY = "vbv-maxrate=40000:vbv-bufsize=30000:bluray-compat=1:slices=4"
_HEVC_51 = {
    "profile": "main",
    "crf": "18",
    "preset": "fast",
    "x265-params": "level-idc=51:high-tier=0:vbv-maxrate=40000:vbv-bufsize=40000:open-gop=0:info=0"
    ":pools=none:frame-threads=1:log-level=none",
}
_SYNTAXES: dict[str, tuple[_Family, dict[str, str]]] = {
    syntax: (family, options)
    for family, options, syntaxes in (
        (_MPEG2, _mpeg2(8, 15_000_000, 1_835_008), (uid.MPEG2MPML, uid.MPEG2MPMLF)),
        (_MPEG2, _mpeg2(4, 80_000_000, 9_781_248), (uid.MPEG2MPHL, uid.MPEG2MPHLF)),
        (_H264, _h264("4.1"), (uid.MPEG4HP41, uid.MPEG4HP41F)),
        (_H264, _h264("4.1", _BLU_RAY), (uid.MPEG4HP41BD, uid.MPEG4HP41BDF)),
        (_H264, _h264("4.2"), (uid.MPEG4HP422D, uid.MPEG4HP422DF)),
        (_HEVC, _HEVC_51, (uid.HEVCMP51,)),
    )
    for syntax in syntaxes
}
"""What can be written again. Not the two stereo ones, of which one view would be lost, and not 10 bits (Main 10)."""

METHOD: dict[str, str] = {syntax: family.method for syntax, (family, _) in _SYNTAXES.items()}
"""Lossy Image Compression Method (0028,2114) of each transfer syntax that is redacted (PS3.3 C.7.6.1.1.5.1)."""

_OPENING = {"mov": {"ignore_editlist": "1"}}
"""An edit list leaves frames out of what is shown: they are there all the same, and are looked at."""


class VideoFrames:
    """The frames of one video; of the decoded ones, never more than one is kept.

    Reading goes forward at the price of one frame, and back at the price of all frames before it. Writing notes what is
    painted where; :meth:`store` carries it out, one frame after the other.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With Pixel Data; not changed before :meth:`store`.
    pixels : PixelFormat
        Its pixel format: YBR_PARTIAL_420, 8 bits.

    Raises
    ------
    Hold
        Without ``av``, for a transfer syntax that cannot be written again, and when the stream is not what the data set
        says. Reading raises it for what cannot be decoded, and for fewer or more frames than Number of Frames.
    """

    def __init__(self, dataset: Dataset, pixels: PixelFormat) -> None:
        self._av = _library()
        self.pixels = pixels
        self._family, self._options = _written_as(pixels)
        self._content = _stream_of(dataset)
        self._container = _container_of(self._content, self._family)
        self._removed = self._other_streams()
        self._painted: defaultdict[int, Painted] = defaultdict(list)
        self._reader: Iterator[VideoFrame] = iter(())
        self._next = pixels.frames

    @property
    def actions(self) -> tuple[str, ...]:
        """What :meth:`store` removes beside what is painted; complete when the last frame was read.

        Where there is something, the instance has to be stored even when nothing is painted.
        """
        return tuple(f"{kind} removed" for kind in sorted(self._removed))

    def read(self, index: int) -> Picture:
        """Return one frame as RGB, uint8, shape (rows, columns, 3)."""
        if index < self._next:
            self._reader, self._next = self._frames(self._content), 0
        frame = next(islice(self._reader, index - self._next, None))
        self._next = index + 1
        if self._next == self.pixels.frames:
            next(self._reader, None)  # raises when frames follow that nobody would look at
        with _or_hold("a frame of the video cannot be displayed"):
            return np.asarray(frame.to_ndarray(format="rgb24", threads=1), np.uint8)

    def grown(self, region: Region) -> Region:
        """Return the region as it is: the colour of what it shares a block with is encoded anew in any case."""
        return region

    def write(self, index: int, samples: NDArray[Any], painted: Sequence[Region]) -> None:
        """Note the regions of one frame, each with its median colour in ``samples``; all else stays as decoded."""
        for region in painted:
            red, green, blue = np.median(samples[place(region)].reshape(-1, 3), axis=0)
            self._painted[index].append((region, (int(red), int(green), int(blue))))

    def store(self, dataset: Dataset) -> None:
        """Encode the stream again with what was written, without what :attr:`actions` says; one fragment.

        Where nothing was written and no captions are in the coded pictures, they are copied as they are.

        Raises
        ------
        Hold
            When it cannot be encoded, or what was encoded has other frames or a painted area that is not plain.
        """
        target = BytesIO()
        with (
            _or_hold(f"the clean video cannot be encoded as {self.pixels.transfer_syntax.name}"),
            self._av.open(target, "w", format=self._container[1], options={"fflags": "+bitexact"}) as output,
        ):
            if self._painted or "captions" in self._removed:
                self._encode(output)
            else:
                self._copy(output)
        content = target.getvalue()
        _hold_if(len(content) > _LONGEST_FRAGMENT, "the clean video is longer than a fragment can be")
        self._check(content)
        _set_stream(dataset, content)
        if self._painted:
            method = METHOD[self.pixels.transfer_syntax]
            add_lossy_compression(dataset, method, compression_ratio(dataset, self.pixels))

    def _other_streams(self) -> set[str]:
        with _or_hold("the video cannot be opened"), self._open(self._content) as source:
            kinds: set[str] = {stream.type for stream in source.streams}
            names = [stream.codec_context.name for stream in source.streams.video]
        _hold_if(names != [self._family.decoder], "the pixel data is not one video stream of its transfer syntax")
        return kinds - {"video"}

    def _open(self, content: bytes) -> InputContainer:
        demuxer = self._container[0]
        source: InputContainer = self._av.open(
            BytesIO(content), format=demuxer, options=_OPENING.get(demuxer, {}), metadata_errors="replace"
        )
        return source

    def _frames(self, content: bytes) -> Iterator[VideoFrame]:
        """Decode all frames, checked; neither fewer nor more than there should be."""
        count = 0
        for frame in self._decoded(content):
            count += 1
            _check_frame(frame, self.pixels)
            if count > self.pixels.frames:
                break
            yield frame
        _hold_if(count != self.pixels.frames, "the video does not have as many frames as Number of Frames says")

    def _decoded(self, content: bytes) -> Iterator[VideoFrame]:
        with _or_hold("the video cannot be decoded"), self._open(content) as source:
            stream = source.streams.video[0]
            stream.thread_count = 1  # one redactor a core
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
            for packet in source.demux(stream):
                self._look_at(packet, stream.codec_context)
                yield from packet.decode()

    def _look_at(self, packet: Packet[VideoStream], codec: VideoCodecContext) -> None:
        """Hold pictures that are not decoded, or not as a whole, and note captions."""
        coded = bytes(packet)
        if _CAPTIONS.search(coded):
            self._removed.add("captions")
        is_layered = self._family is not _MPEG2 and any(_is_unseen(unit, self._family) for unit in _units(coded, codec))
        _hold_if(is_layered, "the video has further views or layers")
        hidden = max(codec.coded_width - codec.width, codec.coded_height - codec.height)
        _hold_if(hidden >= _PADDING, "the video shows a part of its coded pictures, and hides the rest")

    def _encode(self, output: OutputContainer) -> None:
        encoder = None
        for index, frame in enumerate(self._frames(self._content)):
            encoder = encoder or self._encoder(output, frame)
            frame.make_writable()  # the decoder predicts from its own
            paint(frame, self._painted.get(index, []))
            frame.pict_type, frame.pts, frame.time_base = 0, index, 1 / encoder.codec_context.rate
            output.mux(encoder.encode(frame))
        if encoder:
            output.mux(encoder.encode(None))

    def _encoder(self, output: OutputContainer, first: VideoFrame) -> VideoStream:
        """Add an encoder that writes what came in (rate, size, aspect ratio, colour, fields), and no captions."""
        with self._open(self._content) as source:
            stream = source.streams.video[0]
            rate, aspect = stream.guessed_rate, stream.sample_aspect_ratio
        if not rate:
            msg = "the video does not say its frame rate"
            raise Hold(msg)
        encoder = output.add_stream(
            cast("_VideoCodecName", self._family.encoder), rate, {**self._options, "a53cc": "0"}
        )
        encoder.width, encoder.height, encoder.pix_fmt = first.width, first.height, first.format.name
        codec = encoder.codec_context
        codec.thread_count, codec.gop_size = 1, max(1, round(rate))
        if aspect:
            codec.sample_aspect_ratio = aspect
        codec.color_range, codec.colorspace = first.color_range, first.colorspace
        codec.color_trc, codec.color_primaries = first.color_trc, first.color_primaries
        if first.interlaced_frame:
            codec.flags |= self._av.codec.context.Flags.interlaced_dct | self._av.codec.context.Flags.interlaced_me
        return encoder

    def _copy(self, output: OutputContainer) -> None:
        with self._open(self._content) as source:
            stream = source.streams.video[0]
            copied = output.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.dts is not None:  # the last is none: it empties decoders
                    packet.stream = copied
                    output.mux(packet)

    def _check(self, content: bytes) -> None:
        """Decode what was encoded: same frames, same size, and plain where it was painted."""
        for index, frame in enumerate(self._frames(content)):
            survives = is_plain(frame, self._painted.get(index, []))
            _hold_if(not survives, "a painted area did not survive encoding")


def compression_ratio(dataset: Dataset, pixels: PixelFormat) -> float:
    """Return the Lossy Image Compression Ratio (0028,2112) of stored video: 24 bits a pixel to those in Pixel Data."""
    return pixels.frames * pixels.rows * pixels.columns * 3 / len(dataset.PixelData)


@contextmanager
def _or_hold(problem: str) -> Iterator[None]:
    """Turn whatever a codec raises into Hold."""
    try:
        yield
    except Hold:
        raise
    except Exception as error:
        msg = f"{problem} ({type(error).__name__})"
        raise Hold(msg) from error


def _hold_if(is_so: bool, problem: str) -> None:  # noqa: FBT001 - a condition, not an option
    if is_so:
        raise Hold(problem)


def _library() -> ModuleType:
    try:
        import av  # noqa: PLC0415 - optional, see the module's docstring
    except ImportError:
        msg = "video is redacted with the package `av` (extra `video`), which is not installed"
        raise Hold(msg) from None
    library: ModuleType = av
    return library


def _written_as(pixels: PixelFormat) -> tuple[_Family, dict[str, str]]:
    _hold_if(pixels.transfer_syntax not in _SYNTAXES, f"{pixels.transfer_syntax.name} cannot be redacted")
    layout = (pixels.photometric_interpretation, pixels.samples, pixels.bits_allocated, pixels.bits_stored)
    is_other = layout != ("YBR_PARTIAL_420", 3, 8, 8) or pixels.signed
    _hold_if(is_other, "video is YBR_PARTIAL_420 with three samples of 8 bits, and the data set says otherwise")
    return _SYNTAXES[pixels.transfer_syntax]


def _stream_of(dataset: Dataset) -> bytes:
    """Join the fragments: one, or several of a fragmentable transfer syntax (PS3.5 A.4.5 to A.4.12)."""
    with _or_hold("the encapsulated pixel data cannot be divided into fragments"):
        items = list(generate_fragments(dataset.PixelData))  # the first is the Basic Offset Table
    length = sum(8 + len(item) for item in items)
    behind = dataset.PixelData[length:]
    _hold_if(behind not in {b"", _SEQUENCE_DELIMITER}, "the encapsulated pixel data holds more than its fragments")
    return b"".join(items[1:])


def _set_stream(dataset: Dataset, content: bytes) -> None:
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            delattr(dataset, keyword)
    if "EncapsulatedPixelDataValueTotalLength" in dataset:
        dataset.EncapsulatedPixelDataValueTotalLength = len(content)
    dataset.PixelData = encapsulate([content], has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def _container_of(content: bytes, family: _Family) -> tuple[str, str]:
    """Return demuxer and muxer by the first bytes: av would also try demuxers that open other files."""
    if content[4:8] in {b"ftyp", b"moov", b"mdat", b"free", b"wide"}:
        return "mov", "mp4"
    if content[:1] == content[188:189] == b"G":
        return "mpegts", "mpegts"
    if content.startswith(b"\0\0\1\xba"):
        return "mpeg", "vob"
    if content.startswith((b"\0\0\1", b"\0\0\0\1")):
        return family.bare
    msg = "the container of the video is none that is known"
    raise Hold(msg)


def _check_frame(frame: VideoFrame, pixels: PixelFormat) -> None:
    is_other = (frame.height, frame.width) != (pixels.rows, pixels.columns)
    _hold_if(frame.is_corrupt, "a frame of the video is damaged")
    _hold_if(is_other, "a frame of the video is not as large as the data set says")
    _hold_if(frame.rotation != 0, "the video is shown rotated")
    _hold_if(frame.format.name not in _PIXEL_FORMATS, "the video is not of 8 bits in 4:2:0")


def _units(coded: bytes, codec: VideoCodecContext) -> Iterable[bytes]:
    """Return the two-byte headers of the NAL units of a packet, behind start codes or (in MP4) behind lengths."""
    configuration = codec.extradata or b""
    if not configuration.startswith(b"\1"):
        return _START_OF_UNIT.findall(coded)
    length = 1 + (configuration[4 if codec.name == "h264" else 21] & 3)
    headers, position = [], 0
    while position + length + 2 <= len(coded):
        headers.append(coded[position + length : position + length + 2])
        position += length + int.from_bytes(coded[position : position + length])
    return headers


def _is_unseen(unit: bytes, family: _Family) -> bool:
    if family is _H264:
        return unit[0] & 31 in _UNSEEN_H264_UNITS
    return (unit[0] & 1, unit[1] >> 3) != (0, 0)  # nuh_layer_id, ITU-T H.265 7.3.1.2
