"""Frames in, frames out: nothing beside them leaves, and those that are not written keep their bytes."""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_fragments, generate_frames
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless, RLELossless

from dicom_node.errors import Hold
from dicom_node.redaction.format import pixel_format
from dicom_node.redaction.frames import clear_unused_bits, open_frames, stored_values
from tests.unit.redaction.made import image, reread

if TYPE_CHECKING:
    from pydicom import FileDataset

RANDOM = np.random.default_rng(11)
THREE = RANDOM.integers(0, 256, (3, 10, 12)).astype("u1")


@pytest.mark.parametrize("count", [None, 1, 2])
def test_frames_that_the_header_does_not_tell_of_are_held(count: int | None) -> None:
    with pytest.raises(Hold, match="behind its last frame"):
        open_frames(image(THREE, NumberOfFrames=count))


@pytest.mark.parametrize("count", [4, 1 << 30])
def test_fewer_frames_than_the_header_tells_of_are_held(count: int) -> None:
    with pytest.raises(Hold, match="are needed"):
        open_frames(image(THREE, NumberOfFrames=count))


def test_sizes_whose_product_overflows_are_held() -> None:
    dataset = image(np.zeros((1, 2, 2, 3), "u4"), photometric="RGB", Rows=1 << 15, Columns=1 << 15)
    dataset.NumberOfFrames = (1 << 31) - 1
    with pytest.raises(Hold, match="are needed"):
        open_frames(dataset)


def test_a_byte_behind_the_last_frame_is_held_unless_it_is_padding() -> None:
    odd = RANDOM.integers(1, 256, (1, 5, 5)).astype("u1")
    assert open_frames(image(odd)).pixels.frames == 1
    with pytest.raises(Hold, match="behind its last frame"):
        open_frames(image(odd, PixelData=odd.tobytes() + b"x"))


@pytest.mark.parametrize("content", [None, b""])
def test_empty_pixel_data_is_held(content: bytes | None) -> None:
    with pytest.raises(Hold, match="no pixel data"):
        open_frames(image(THREE, PixelData=content))


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_float_pixel_data_beside_pixel_data_is_held(keyword: str) -> None:
    dataset = image(THREE)
    setattr(dataset, keyword, b"\0" * 16)
    with pytest.raises(Hold, match="float"):
        open_frames(dataset)


def test_odd_16_bit_words_are_held() -> None:
    dataset = image(THREE[:, :5, :5], syntax=ExplicitVRBigEndian)
    dataset.PixelData = b"\1" * 75
    dataset["PixelData"].VR = "OW"
    with pytest.raises(Hold, match="odd"):
        open_frames(dataset)


def test_bytes_in_big_endian_words_are_put_right_and_back() -> None:
    dataset = image(THREE[:1, :5, :5], syntax=ExplicitVRBigEndian)
    native = dataset.PixelData
    dataset.PixelData = np.frombuffer(native, "u2").byteswap().tobytes()
    dataset["PixelData"].VR = "OW"
    frames = open_frames(dataset)
    assert np.array_equal(frames.read(0), THREE[0, :5, :5])
    frames.write(0, frames.read(0) ^ 0xFF, ())
    frames.store(dataset)
    assert np.array_equal(open_frames(dataset).read(0), THREE[0, :5, :5] ^ 0xFF)


def compressed(frames: np.ndarray[Any, Any] = THREE, syntax: str = JPEGLSLossless) -> tuple[FileDataset, list[bytes]]:
    dataset = image(frames, syntax=syntax)
    return dataset, list(generate_frames(dataset.PixelData, number_of_frames=len(frames)))


def item(content: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + pack("<L", len(content)) + content


def test_two_pictures_in_one_frame_are_held() -> None:
    dataset, codestreams = compressed(THREE[:2])
    dataset.PixelData = item(b"") + item(codestreams[0]) + item(codestreams[1])
    dataset.NumberOfFrames = 1
    frames = open_frames(dataset)
    with pytest.raises(Hold, match="behind its end"):
        frames.read(0)


def test_a_fragment_that_the_offset_table_leaves_out_is_held() -> None:
    dataset, codestreams = compressed(THREE[:2])
    _, offsets, lengths = encapsulate_extended(codestreams)
    dataset.PixelData = encapsulate(codestreams, has_bot=False)
    dataset.NumberOfFrames = 1
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets[8:], lengths[8:]
    with pytest.raises(Hold, match="more, or other"):
        open_frames(dataset)


def test_an_offset_table_that_shows_one_frame_twice_is_held() -> None:
    dataset, codestreams = compressed(THREE[:2])
    _, offsets, lengths = encapsulate_extended(codestreams)
    dataset.PixelData = encapsulate(codestreams, has_bot=False)
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets[:8] * 2, lengths[:8] * 2
    with pytest.raises(Hold, match="more, or other"):
        open_frames(dataset)


def test_what_stands_behind_the_last_fragment_is_held() -> None:
    dataset, codestreams = compressed()
    dataset.PixelData = encapsulate(codestreams) + b"\xfe\xff\xdd\xe0\0\0\0\0" + item(codestreams[0])
    with pytest.raises(Hold):
        open_frames(dataset)


def test_an_empty_fragment_is_held() -> None:
    dataset, codestreams = compressed()
    dataset.PixelData = item(b"") + item(codestreams[0]) + item(b"") + item(codestreams[2])
    with pytest.raises(Hold):
        open_frames(dataset).read(1)


@pytest.mark.parametrize("count", [None, 2, 4])
def test_a_wrong_number_of_compressed_frames_is_held(count: int | None) -> None:
    dataset, codestreams = compressed()
    dataset.PixelData, dataset.NumberOfFrames = encapsulate(codestreams), count
    with pytest.raises(Hold):
        open_frames(dataset).read(0)


def test_several_fragments_a_frame_are_one_frame() -> None:
    dataset, codestreams = compressed()
    dataset.PixelData = encapsulate(codestreams, fragments_per_frame=3)
    frames = open_frames(dataset)
    assert [np.array_equal(frames.read(i), THREE[i]) for i in range(3)] == [True] * 3


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless], ids=lambda uid: uid.name)
def test_frames_that_are_not_written_keep_their_codestream(syntax: str) -> None:
    dataset, codestreams = compressed(syntax=syntax)
    frames = open_frames(dataset)
    frames.write(1, np.zeros_like(frames.read(1)), ())
    frames.store(dataset)
    after = list(generate_frames(reread(dataset).PixelData, number_of_frames=3))
    assert (after[0], after[2]) == (codestreams[0], codestreams[2])
    assert after[1] != codestreams[1]


def test_offset_tables_are_rebuilt_and_the_total_length_is_not_left_wrong() -> None:
    dataset, codestreams = compressed()
    content, offsets, lengths = encapsulate_extended(codestreams)
    dataset.PixelData, dataset.EncapsulatedPixelDataValueTotalLength = content, len(content)
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    frames = open_frames(dataset)
    frames.write(0, np.zeros_like(frames.read(0)), ())
    frames.store(dataset)
    again = reread(dataset)
    assert "EncapsulatedPixelDataValueTotalLength" not in again
    extended = (again.ExtendedOffsetTable, again.ExtendedOffsetTableLengths)
    by_table = list(generate_frames(again.PixelData, number_of_frames=3, extended_offsets=extended))
    padded = list(generate_fragments(again.PixelData))[1:]
    assert [frame.rstrip(b"\0") for frame in by_table] == [frame.rstrip(b"\0") for frame in padded]


def test_one_bit_frames_across_byte_borders_are_read_and_written() -> None:
    bits = RANDOM.integers(0, 2, (3, 5, 5)).astype("u1")
    packed = np.packbits(bits, bitorder="little").tobytes()
    dataset = image(bits, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed)
    frames = open_frames(dataset)
    assert np.array_equal(np.stack([frames.read(i) for i in range(3)]), bits)
    frames.write(1, 1 - frames.read(1), ())
    frames.store(dataset)
    frames = open_frames(dataset)
    assert np.array_equal(frames.read(1), 1 - bits[1])
    assert np.array_equal(frames.read(2), bits[2])


@pytest.mark.parametrize("signed", [False, True])
def test_a_plane_in_the_bits_above_bits_stored_does_not_stay(signed: bool) -> None:  # noqa: FBT001 - a parameter
    values = RANDOM.integers(0, 4096, (1, 10, 12)).astype("u2")
    hidden = RANDOM.integers(0, 2, values.shape).astype("u2") << 15
    pixels = pixel_format(image(values, stored=12, signed=signed))
    cleared = clear_unused_bits(values | hidden, pixels)
    assert np.array_equal(stored_values(cleared, pixels), stored_values(values, pixels))
    high = cleared >> 12
    negative = stored_values(values, pixels) < 0
    assert set(np.unique(high[~negative])) == {0}
    assert set(np.unique(high[negative])) <= {0xF if signed else 0}


def test_a_sign_that_some_negative_values_have_and_others_not_is_a_plane_too() -> None:
    pixels = pixel_format(image(np.zeros((1, 2, 4), "u2"), stored=12, signed=True))
    partly = np.array([[0xF800, 0x0800, 0xF800, 0x0800], [1, 2, 3, 4]], "u2")
    assert clear_unused_bits(partly, pixels).tolist() == [[0xF800] * 4, [1, 2, 3, 4]]


def test_sign_extension_as_it_should_be_is_left_alone() -> None:
    pixels = pixel_format(image(np.zeros((1, 1, 4), "u2"), stored=12, signed=True))
    for row in ([0xF800, 0xFFFF, 5, 0], [0x0800, 0x0FFF, 5, 0]):
        assert clear_unused_bits(np.array([row], "u2"), pixels).tolist() == [row]


def test_bits_below_the_stored_ones_are_cleared() -> None:
    pixels = pixel_format(image(np.zeros((1, 1, 1), "u2"), stored=12, high_bit=15))
    assert clear_unused_bits(np.array([[0x123F]], "u2"), pixels).tolist() == [[0x1230]]
