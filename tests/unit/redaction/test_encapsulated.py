"""Codestreams beside those that are painted: none carries the picture a second time, and all decode as they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless

from dicom_node.errors import Hold
from dicom_node.model import Outcome
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.frames import open_frames
from tests.unit.redaction.made import FindsBoxes, image, reread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

FRAMES = np.random.default_rng(5).integers(40, 200, (3, 32, 40)).astype("u1")
FRAMES[1] = FRAMES[1] // 8 + 200  # frames that are not alike are looked at each alone
EXIF = b"\xff\xe1\x00\x6aExif\0\0" + b"THUMBNAIL." * 9 + b"12345678"
JFXX = b"\xff\xe0\x00\x6aJFXX\0\x10" + b"THUMBNAIL." * 9 + b"12345678"
JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
assert len(EXIF) == len(JFXX) == 2 + 0x6A


class OnFrame(FindsBoxes):
    """Finds a box in the second of the frames, each of which is looked at alone."""

    looks = 0

    def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
        self.looks += 1
        return super().find(pictures) if self.looks == 2 else []


def codestreams(dataset: Dataset) -> list[bytes]:
    return list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))


def with_codestreams(syntax: str, change: Any = bytes, **how: Any) -> Dataset:  # noqa: ANN401 - a function of bytes
    dataset = image(FRAMES, syntax=syntax, **how)
    dataset.PixelData = encapsulate([change(codestream) for codestream in codestreams(dataset)])
    return dataset


def behind_start(segment: bytes) -> Any:  # noqa: ANN401 - a function of bytes
    return lambda codestream: codestream[:2] + segment + codestream[2:]


@pytest.mark.parametrize("segment", [EXIF, JFXX], ids=["EXIF", "JFXX"])
def test_thumbnails_go_from_baseline_jpeg_in_which_nothing_is_painted(segment: bytes) -> None:
    dataset = with_codestreams(JPEGBaseline8Bit, behind_start(segment))
    before = [open_frames(dataset).read(index) for index in range(3)]
    redaction = redact(dataset, Policy("all-text"), FindsBoxes())
    assert (redaction.outcome, redaction.actions) == (Outcome.CLEANED, ("thumbnails in codestreams removed",))
    again = reread(dataset)
    assert b"THUMB" not in again.PixelData
    assert np.array_equal([open_frames(again).read(index) for index in range(3)], before)


def test_thumbnails_go_from_the_frames_that_are_not_painted_as_well() -> None:
    dataset = with_codestreams(JPEGBaseline8Bit, behind_start(EXIF))
    redaction = redact(dataset, Policy("all-text"), OnFrame(Box(8, 8, 8, 8)))
    assert [(region.first_frame, region.last_frame) for region in redaction.regions] == [(1, 1)]
    assert b"THUMB" not in reread(dataset).PixelData


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless])
@pytest.mark.parametrize("segment", [EXIF, JFXX], ids=["EXIF", "JFXX"])
def test_thumbnails_in_lossless_jpeg_are_held(syntax: str, segment: bytes) -> None:
    dataset = with_codestreams(syntax, behind_start(segment))
    with pytest.raises(Hold, match="a second time"):
        redact(dataset, Policy("all-text"), FindsBoxes())


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless])
def test_plain_headers_in_codestreams_are_no_thumbnails(syntax: str) -> None:
    dataset = with_codestreams(syntax, behind_start(JFIF) if syntax != JPEGBaseline8Bit else bytes)
    before = dataset.PixelData
    assert redact(dataset, Policy("all-text"), FindsBoxes()).outcome is Outcome.UNCHANGED
    assert reread(dataset).PixelData == before


@pytest.mark.parametrize("junk", [b"\0", b"junk"])
def test_a_thumbnail_in_a_codestream_that_decoders_alone_can_divide_is_held(junk: bytes) -> None:
    def damaged(codestream: bytes) -> bytes:
        behind = 4 + int.from_bytes(codestream[4:6])  # the first segment
        return codestream[:2] + EXIF + codestream[2:behind] + junk + codestream[behind:]

    dataset = with_codestreams(JPEGBaseline8Bit, damaged)
    assert imagecodecs.jpeg8_decode(codestreams(dataset)[0]).shape == (32, 40), "decoders pass over the junk"
    with pytest.raises(Hold):
        redact(dataset, Policy("all-text"), FindsBoxes())


def in_file_format(box: bytes) -> Any:  # noqa: ANN401 - a function of bytes
    """Write a frame as JP2, with one more box before the codestream."""

    def change(codestream: bytes) -> bytes:
        frame = imagecodecs.jpeg2k_decode(codestream)
        file = bytes(imagecodecs.jpeg2k_encode(frame, level=0, codecformat="jp2", reversible=True))
        start = file.index(b"jp2c") - 4
        return file[:start] + box + file[start:]

    return change


UUID = b"\0\0\0\x2cuuid" + b"\0" * 16 + b"THUMBNAIL.THUMBNAIL."
LARGE = (5000).to_bytes(4) + b"free" + b"\0" * 4992


@pytest.mark.parametrize("box", [UUID, LARGE], ids=["uuid", "large"])
def test_boxes_around_jpeg_2000_that_can_hold_a_picture_are_held(box: bytes) -> None:
    dataset = with_codestreams(JPEG2000Lossless, in_file_format(box))
    with pytest.raises(Hold, match="a second time"):
        redact(dataset, Policy("all-text"), FindsBoxes())


def test_plain_boxes_around_jpeg_2000_leave_as_they_came() -> None:
    dataset = with_codestreams(JPEG2000Lossless, in_file_format(b""))
    before = dataset.PixelData
    assert redact(dataset, Policy("all-text"), FindsBoxes()).outcome is Outcome.UNCHANGED
    assert reread(dataset).PixelData == before


def test_12_bit_jpeg_of_several_frames_moves_to_jpeg_lossless_with_those_that_were_not_painted() -> None:
    source = dcmread(str(get_testdata_file("JPGExtended.dcm")))
    (codestream,) = generate_frames(source.PixelData, number_of_frames=1)
    source.NumberOfFrames = 3
    source.PixelData = encapsulate([codestream] * 3)
    decoded = open_frames(source).read(0)
    redact(source, Policy("all-text"), FindsBoxes(Box(9, 3, 20, 40)))
    again = reread(source)
    assert again.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    painted = open_frames(again)
    for index in range(3):
        after = painted.read(index)
        assert len(np.unique(after[9:29, 3:43])) == 1
        after[9:29, 3:43] = decoded[9:29, 3:43]
        assert np.array_equal(after, decoded)


def test_frames_that_are_moved_and_not_painted_hold_what_was_decoded() -> None:
    source = dcmread(str(get_testdata_file("JPGExtended.dcm")))
    (codestream,) = generate_frames(source.PixelData, number_of_frames=1)
    source.NumberOfFrames = 2
    source.PixelData = encapsulate([codestream] * 2)
    decoded = open_frames(source).read(0)
    frames = open_frames(source)
    samples = frames.read(1)
    samples[:5, :5] = 0
    frames.write(1, samples, ())
    frames.store(source)
    again = open_frames(reread(source))
    assert np.array_equal(again.read(0), decoded)
    assert np.array_equal(again.read(1), samples)


@pytest.mark.parametrize(("fill", "darker"), [("background", None), ("contrast", False), ("black", True)])
def test_colour_jpeg_is_filled_with_what_was_asked_for(fill: str, darker: bool | None) -> None:  # noqa: FBT001
    frame = np.full((1, 48, 48, 3), (60, 90, 30), "u1")
    frame[0, 20:26, 18:30] = 255
    dataset = image(frame, syntax=JPEGBaseline8Bit, photometric="RGB")
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    before = imagecodecs.jpeg8_decode(codestreams(dataset)[0]).astype(int)
    (region,) = redact(dataset, Policy("all-text", fill=fill), FindsBoxes(Box(19, 17, 8, 14))).regions
    after = imagecodecs.jpeg8_decode(codestreams(reread(dataset))[0]).astype(int)
    inside = (
        slice(region.row + 2, region.row + region.height - 2),
        slice(region.column + 2, region.column + region.width - 2),
    )
    assert np.ptp(after[inside].reshape(-1, 3), axis=0).max() <= 1, "flat: nothing of the text is left"
    mean = after[inside].mean(axis=(0, 1))
    if darker is None:
        assert np.abs(mean - before[0, 0]).max() <= 4
    else:
        assert mean.max() <= 4 if darker else mean.min() >= 251
