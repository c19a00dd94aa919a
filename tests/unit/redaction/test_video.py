"""Video: every frame is seen, what is painted is gone from all of them, and what cannot be sure is held."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate, generate_fragments, itemize_fragment

from dicom_node.errors import Hold
from dicom_node.model import Region
from dicom_node.redaction.format import PixelFormat
from dicom_node.redaction.video import METHOD, VideoFrames, compression_ratio

av = pytest.importorskip("av", reason="the extra `video` is not installed")

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, COLUMNS, FRAMES = 80, 112, 14
RATE = Fraction(30000, 1001)
BANNER = Region(10, 6, 18, 100)
QUIET = {"x265-params": "log-level=none"}

CASES = [
    (uid.MPEG2MPML, "mpeg2video", "mpeg2video"),
    (uid.MPEG2MPMLF, "mpeg2video", "mpegts"),
    (uid.MPEG2MPHL, "mpeg2video", "vob"),
    (uid.MPEG4HP41, "libx264", "h264"),
    (uid.MPEG4HP41BD, "libx264", "mpegts"),
    (uid.MPEG4HP422D, "libx264", "mp4"),
    (uid.HEVCMP51, "libx265", "hevc"),
    (uid.HEVCMP51, "libx265", "mpegts"),
    (uid.HEVCMP51, "libx265", "mp4"),
]
DEMUXER = {"mpeg2video": "mpegvideo", "vob": "mpeg", "mp4": "mov"}


def pictures(rows: int = ROWS, columns: int = COLUMNS, frames: int = FRAMES) -> NDArray[np.uint8]:
    """Make anatomy that moves below a name that does not."""
    noise = np.random.default_rng(1).integers(30, 150, (rows, columns + frames, 3), dtype=np.uint8)
    anatomy = cv2.GaussianBlur(noise, (0, 0), 1.5)
    made = np.stack([anatomy[:, i : i + columns] for i in range(frames)])
    for picture in made:
        cv2.putText(picture, "DOE^JANE", (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))
    return made


def coded(  # what av's encoders and muxers are told
    made: NDArray[np.uint8],
    codec: str = "libx264",
    container: str = "h264",
    *,
    audio: bool = False,
    videos: int = 1,
    pixel_format: str = "yuv420p",
    flags: int = 0,
    **options: str,
) -> bytes:
    target = BytesIO()
    with av.open(target, "w", format=container) as output:
        streams = []
        for _ in range(videos):
            stream = output.add_stream(codec, rate=RATE, options={**(QUIET if codec == "libx265" else {}), **options})
            stream.height, stream.width = made.shape[1:3]
            stream.pix_fmt, stream.codec_context.thread_count = pixel_format, 1
            stream.codec_context.flags |= flags
            streams.append(stream)
        sound = output.add_stream("mp2", rate=32000) if audio else None
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1152), np.int16), format="s16", layout="stereo")
            silence.sample_rate = 32000
            output.mux(sound.encode(silence))
        for stream in streams:
            for picture in made:
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in [*streams, *([sound] if sound else [])]:
            output.mux(stream.encode(None))
    return target.getvalue()


def instance(content: bytes, syntax: str = uid.MPEG4HP41, *, frames: int = FRAMES) -> tuple[Dataset, PixelFormat]:
    dataset = Dataset()
    dataset.PixelData = encapsulate([content], has_bot=False)
    pixels = PixelFormat(
        transfer_syntax=uid.UID(syntax),
        rows=ROWS,
        columns=COLUMNS,
        samples=3,
        bits_allocated=8,
        bits_stored=8,
        high_bit=7,
        signed=False,
        photometric_interpretation="YBR_PARTIAL_420",
        planar_configuration=0,
        frames=frames,
    )
    return dataset, pixels


def read_all(video: VideoFrames) -> NDArray[np.int16]:
    return np.stack([video.read(index) for index in range(video.pixels.frames)]).astype(np.int16)


def paint(video: VideoFrames, colour: tuple[int, int, int], frames: range, region: Region = BANNER) -> None:
    for index in frames:
        samples = video.read(index)
        samples[region.row : region.row + region.height, region.column : region.column + region.width] = colour
        video.write(index, samples, [region])


def inside(frames: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the banner, without the two pixels at its border that share chrominance or are smoothed."""
    return frames[:, BANNER.row + 2 : BANNER.row + BANNER.height - 2, BANNER.column + 2 : 104]


def opened(dataset: Dataset, container: str) -> Any:  # noqa: ANN401 - av's container
    content = b"".join(list(generate_fragments(dataset.PixelData))[1:])
    return av.open(BytesIO(content), format=DEMUXER.get(container, container))


def units_inserted(content: bytes, unit: bytes, before: bytes) -> bytes:
    position = content.index(before)
    return content[:position] + unit + content[position:]


@pytest.mark.parametrize(("syntax", "codec", "container"), CASES)
def test_the_banner_is_gone_where_it_is_painted_and_all_else_stays(syntax: str, codec: str, container: str) -> None:
    dataset, pixels = instance(coded(pictures(), codec, container), syntax)
    video = VideoFrames(dataset, pixels)
    before = read_all(video)
    painted = range(4, 9)
    paint(video, (0, 0, 0), painted)
    video.store(dataset)

    after = read_all(VideoFrames(dataset, pixels))
    assert before.shape == after.shape == (FRAMES, ROWS, COLUMNS, 3)
    assert inside(before).max() > 200
    assert inside(after[painted]).max() < 40
    unpainted = [index for index in range(FRAMES) if index not in painted]
    assert np.abs(after - before)[unpainted].mean(axis=(1, 2, 3)).max() < 3
    assert np.abs(after - before)[:, 32:].mean(axis=(1, 2, 3)).max() < 3


def test_what_is_painted_does_not_spread_to_the_frames_predicted_from_it() -> None:
    dataset, pixels = instance(coded(pictures(), tune="zerolatency"))
    video = VideoFrames(dataset, pixels)
    before = read_all(video)
    paint(video, (0, 0, 0), range(1))
    video.store(dataset)

    after = read_all(VideoFrames(dataset, pixels))
    assert inside(after[:1]).max() < 40
    assert np.abs(after - before)[1:].mean(axis=(1, 2, 3)).max() < 3


@pytest.mark.parametrize(("syntax", "codec", "container"), CASES)
def test_family_profile_container_and_frame_rate_are_kept(syntax: str, codec: str, container: str) -> None:
    dataset, pixels = instance(coded(pictures(), codec, container), syntax)
    video = VideoFrames(dataset, pixels)
    with opened(dataset, container) as source:
        name = source.streams.video[0].codec_context.name
    paint(video, (0, 0, 0), range(1))
    video.store(dataset)

    with opened(dataset, container) as source:
        stream = source.streams.video[0]
        assert stream.codec_context.name == name
        assert stream.codec_context.profile in {"Main", "High"}
        assert stream.guessed_rate == RATE
        assert len(source.streams) == 1
    assert len(list(generate_fragments(dataset.PixelData))) == 2  # with an empty Basic Offset Table
    assert compression_ratio(dataset, pixels) == FRAMES * ROWS * COLUMNS * 3 / len(dataset.PixelData)
    assert METHOD[syntax] in {"ISO_13818_2", "ISO_14496_10", "ISO_23008_2"}


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p"])
def test_any_colour_is_painted_as_it_is_seen(pixel_format: str) -> None:
    dataset, pixels = instance(coded(pictures(), pixel_format=pixel_format))
    video = VideoFrames(dataset, pixels)
    paint(video, (200, 30, 90), range(FRAMES))
    video.store(dataset)

    after = inside(read_all(VideoFrames(dataset, pixels)))
    assert np.abs(after - np.array([200, 30, 90])).mean(axis=(0, 1, 2)).max() < 6


@pytest.mark.parametrize(("codec", "syntax"), [("mpeg2video", uid.MPEG2MPML), ("libx264", uid.MPEG4HP41)])
def test_interlaced_video_stays_interlaced(codec: str, syntax: str) -> None:
    fields = av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
    container = "mpeg2video" if codec == "mpeg2video" else "h264"
    dataset, pixels = instance(coded(pictures(), codec, container, flags=fields), syntax)
    video = VideoFrames(dataset, pixels)
    paint(video, (0, 0, 0), range(FRAMES))
    with opened(dataset, container) as source:
        before = [frame.interlaced_frame for frame in source.decode(video=0)]
    video.store(dataset)

    with opened(dataset, container) as source:
        after = [frame.interlaced_frame for frame in source.decode(video=0)]
    assert before == after == [True] * FRAMES
    assert inside(read_all(VideoFrames(dataset, pixels))).max() < 40


def test_frames_are_the_same_in_whatever_order_they_are_read() -> None:
    video = VideoFrames(*instance(coded(pictures())))
    forward = read_all(video)
    for index in (5, 9, 5, 0, FRAMES - 1):
        assert np.array_equal(video.read(index), forward[index])


def test_several_fragments_are_one_stream() -> None:
    content = coded(pictures())
    whole, pixels = instance(content, uid.MPEG4HP41F)
    parts = Dataset()
    pieces = [content[start : start + 1000] for start in range(0, len(content), 1000)]
    parts.PixelData = b"\xfe\xff\x00\xe0\0\0\0\0" + b"".join(itemize_fragment(piece) for piece in pieces)
    parts.EncapsulatedPixelDataValueTotalLength = len(content)
    assert len(pieces) > 2
    video = VideoFrames(parts, pixels)
    assert np.array_equal(read_all(video), read_all(VideoFrames(whole, pixels)))

    paint(video, (0, 0, 0), range(FRAMES))
    video.store(parts)
    stored = list(generate_fragments(parts.PixelData))[1]
    assert len(stored) - parts.EncapsulatedPixelDataValueTotalLength in {0, 1}


def test_an_odd_number_of_columns_is_written_where_the_family_has_it() -> None:
    dataset, pixels = instance(coded(pictures(columns=111), "mpeg2video", "mpeg2video"), uid.MPEG2MPML)
    pixels = replace(pixels, columns=111)
    video = VideoFrames(dataset, pixels)
    paint(video, (0, 0, 0), range(FRAMES), Region(0, 91, 15, 20))
    video.store(dataset)

    assert read_all(VideoFrames(dataset, pixels))[:, 2:13, 93:].max() < 40


@pytest.mark.parametrize("container", ["mpegts", "mp4"])
def test_sound_is_removed_and_said_and_costs_no_picture(container: str) -> None:
    dataset, pixels = instance(coded(pictures(), container=container, audio=True))
    video = VideoFrames(dataset, pixels)
    assert video.actions == ("audio removed",)
    before = read_all(video)
    video.store(dataset)

    again = VideoFrames(dataset, pixels)
    assert again.actions == ()
    assert np.array_equal(read_all(again), before)
    with opened(dataset, container) as source:
        assert [stream.type for stream in source.streams] == ["video"]


def test_captions_are_removed_and_said() -> None:
    captions = b"\0\0\1\xb2GA94\x03\xc1\xff\xfc\x94\x2c\xff"
    content = units_inserted(coded(pictures(), "mpeg2video", "mpeg2video"), captions, b"\0\0\1\1")
    dataset, pixels = instance(content, uid.MPEG2MPML)
    video = VideoFrames(dataset, pixels)
    read_all(video)
    assert video.actions == ("captions removed",)
    video.store(dataset)

    assert b"GA94" not in dataset.PixelData
    again = VideoFrames(dataset, pixels)
    read_all(again)
    assert again.actions == ()


@pytest.mark.parametrize("said", [FRAMES - 1, FRAMES + 1])
def test_a_stream_with_more_or_fewer_frames_than_said_is_held(said: int) -> None:
    video = VideoFrames(*instance(coded(pictures()), frames=said))
    with pytest.raises(Hold, match="as many frames"):
        read_all(video)


def test_frames_that_an_edit_list_hides_are_counted() -> None:
    content = bytearray(coded(pictures(), container="mp4", bf="0"))
    media_time = content.index(b"elst") + 16
    content[media_time : media_time + 4] = (6 * 1001).to_bytes(4)
    with av.open(BytesIO(bytes(content)), format="mov") as source:
        shown = len(list(source.decode(video=0)))
    assert shown < FRAMES
    with pytest.raises(Hold, match="as many frames"):
        read_all(VideoFrames(*instance(bytes(content), frames=shown)))


def test_a_picture_that_is_shown_in_part_is_held() -> None:
    hidden = BytesIO()
    with (
        av.open(BytesIO(coded(pictures(rows=ROWS + 48))), format="h264") as source,
        av.open(hidden, "w", format="h264") as output,
    ):
        stream = source.streams.video[0]
        copied = output.add_stream_from_template(stream)
        cut = av.bitstream.BitStreamFilterContext("h264_metadata=crop_bottom=48", stream, copied)
        for packet in source.demux(stream):
            for changed in cut.filter(packet if packet.size else None):
                changed.stream = copied
                output.mux(changed)
    with pytest.raises(Hold, match="hides"):
        read_all(VideoFrames(*instance(hidden.getvalue())))


@pytest.mark.parametrize("container", ["h264", "mp4"])
def test_a_further_view_that_decoders_pass_over_is_held(container: str) -> None:
    view = b"\x74\x00\x00\x40\x80\x80"
    content = coded(pictures(), container=container)
    if container == "h264":
        content = units_inserted(content, b"\0\0\1" + view, b"\0\0\1\x65")
    else:  # the type of the one that says what encoder it was (SEI) becomes that of a view
        start = content.index(b"x264 - core")
        position = content.rindex(b"\x06\x05", 0, start)
        content = content[:position] + b"\x74" + content[position + 1 :]
    with pytest.raises(Hold, match="views or layers"):
        read_all(VideoFrames(*instance(content)))


def test_a_further_layer_of_hevc_is_held() -> None:
    layer = b"\0\0\1\x02\x09\xd0\x80"
    content = coded(pictures(), "libx265", "hevc")
    frame = content.index(b"\0\0\1\x02\x01")
    with pytest.raises(Hold, match="views or layers"):
        read_all(VideoFrames(*instance(content[:frame] + layer + content[frame:], uid.HEVCMP51)))


@pytest.mark.parametrize(("syntax", "codec", "container"), CASES)
def test_a_stream_that_is_cut_off_is_held(syntax: str, codec: str, container: str) -> None:
    content = coded(pictures(), codec, container)
    with pytest.raises(Hold):
        read_all(VideoFrames(*instance(content[: len(content) * 2 // 3], syntax)))


@pytest.mark.parametrize(
    ("codec", "container", "syntax"), [("libx264", "h264", uid.MPEG4HP41), ("mpeg2video", "mpeg2video", uid.MPEG2MPML)]
)
def test_a_damaged_stream_is_held(codec: str, container: str, syntax: str) -> None:
    content = bytearray(coded(pictures(), codec, container))
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(2).integers(4, 256, 400, dtype=np.uint8).tobytes()
    with pytest.raises(Hold):
        read_all(VideoFrames(*instance(bytes(content), syntax)))


def test_what_is_shown_rotated_is_held() -> None:
    rotated = BytesIO()
    with (
        av.open(BytesIO(coded(pictures())), format="h264") as source,
        av.open(rotated, "w", format="mp4") as output,
    ):
        copied = output.add_stream_from_template(source.streams.video[0])
        copied.set_display_rotation(90)
        for index, packet in enumerate(source.demux(video=0)):
            if packet.size:
                packet.stream, packet.pts, packet.dts = copied, index, index
                output.mux(packet)
    with pytest.raises(Hold, match="rotated"):
        read_all(VideoFrames(*instance(rotated.getvalue())))


def test_what_is_another_size_than_said_is_held() -> None:
    dataset, pixels = instance(coded(pictures()))
    with pytest.raises(Hold, match="large"):
        read_all(VideoFrames(dataset, replace(pixels, rows=ROWS - 2)))


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p"])
def test_what_is_not_8_bits_in_420_is_held(pixel_format: str) -> None:
    with pytest.raises(Hold, match="4:2:0"):
        read_all(VideoFrames(*instance(coded(pictures(), pixel_format=pixel_format))))


@pytest.mark.parametrize(
    ("content", "syntax"),
    [
        (coded(pictures(frames=2), "mpeg2video", "mpegts"), uid.MPEG4HP41),
        (coded(pictures(frames=2), container="mp4", videos=2), uid.MPEG4HP41),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", uid.MPEG4HP41),
        (b"\0\0\1nothing that any decoder knows", uid.MPEG4HP41),
        (b"\0\0", uid.MPEG4HP41),
        (coded(pictures(frames=2)), uid.MPEG4HP42STEREO),
        (coded(pictures(frames=2)), uid.MPEG4HP423D),
        (coded(pictures(frames=2)), uid.HEVCM10P51),
    ],
    ids=["other family", "two pictures at once", "playlist", "noise", "empty", "stereo", "3D", "10 bits"],
)
def test_what_is_no_single_known_stream_is_held(content: bytes, syntax: str) -> None:
    with pytest.raises(Hold):
        read_all(VideoFrames(*instance(content, syntax, frames=2)))


@pytest.mark.parametrize(
    "attributes", [{"photometric_interpretation": "RGB"}, {"bits_stored": 7}, {"samples": 1}, {"signed": True}]
)
def test_a_data_set_that_describes_no_video_is_held(attributes: dict[str, Any]) -> None:
    dataset, pixels = instance(coded(pictures(frames=2)))
    with pytest.raises(Hold, match="YBR_PARTIAL_420"):
        VideoFrames(dataset, replace(pixels, **attributes))


def test_bytes_behind_the_fragments_are_held() -> None:
    dataset, pixels = instance(coded(pictures()))
    dataset.PixelData += b"\xfe\xff\xdd\xe0\0\0\0\0DOE^JANE"
    with pytest.raises(Hold, match="more than its fragments"):
        VideoFrames(dataset, pixels)


def test_a_painted_area_that_does_not_survive_its_encoding_is_held() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (3, 576, 720, 3), dtype=np.uint8)
    dataset, pixels = instance(coded(noise, "mpeg2video", "mpeg2video", b="60M"), uid.MPEG2MPML, frames=3)
    video = VideoFrames(dataset, replace(pixels, rows=576, columns=720))
    paint(video, (255, 255, 255), range(3), Region(301, 301, 2, 3))
    stored = dataset.PixelData
    with pytest.raises(Hold, match="did not survive"):
        video.store(dataset)
    assert dataset.PixelData == stored


def test_without_av_video_is_held_and_the_reason_says_what_is_missing() -> None:
    program = """
import sys
sys.modules["av"] = None
from pydicom import Dataset
from dicom_node.errors import Hold
from dicom_node.redaction.video import VideoFrames
try:
    VideoFrames(Dataset(), None)
except Hold as hold:
    print(hold)
"""
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    assert ran.stdout.strip() == "video is redacted with the package `av` (extra `video`), which is not installed"
