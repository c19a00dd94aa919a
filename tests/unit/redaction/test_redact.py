"""The whole: what is found is painted, everything else leaves as it came, and what is not sure is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import FileDataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.model import Outcome
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.frames import open_frames
from dicom_node.redaction.reading import Reading
from tests.support.pixels import containers_of, used_bits_of
from tests.unit.redaction.made import FindsBoxes, image, reread

if TYPE_CHECKING:
    from numpy.typing import NDArray

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
COMPRESSED = (RLELossless, JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless, HTJ2KLossless)


@st.composite
def made_images(draw: st.DrawFn) -> tuple[FileDataset, NDArray[Any], Box]:
    """Draw an instance, its stored values in containers, and a box in it."""
    syntax = draw(st.sampled_from(NATIVE + COMPRESSED))
    is_colour = draw(st.booleans())
    depth = 8 if is_colour and syntax in COMPRESSED else draw(st.sampled_from([8, 16]))
    # GDCM, with which pydicom reads JPEG Lossless, aborts at fewer than 8 bits; the package does not use it.
    is_whole = is_colour or (syntax == JPEGLosslessSV1 and depth == 8)
    stored = depth if is_whole else draw(st.integers(depth - 6, depth))
    may_shift = syntax in NATIVE and not is_colour
    high_bit = draw(st.integers(stored - 1, depth - 1)) if may_shift else stored - 1
    # Signed codestreams are other than the encoders at hand write: a test of its own has those that are real.
    signed = draw(st.booleans()) if may_shift or (syntax == RLELossless and not is_colour) else False
    rows, columns, frames = draw(st.integers(16, 24)), draw(st.integers(16, 25)), draw(st.integers(1, 3))
    shape = (frames, rows, columns, 3) if is_colour else (frames, rows, columns)
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 1 << stored, shape)
    containers = (values << (high_bit + 1 - stored)).astype(f"u{depth // 8}")
    dataset = image(
        containers,
        syntax=syntax,
        photometric=draw(st.sampled_from(["RGB", "YBR_FULL"] if is_colour and syntax in NATIVE else ["RGB"]))
        if is_colour
        else draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        stored=stored,
        high_bit=high_bit,
        signed=signed,
        planar=draw(st.integers(0, 1)) if is_colour and syntax in NATIVE else 0,
    )
    row, column = draw(st.integers(0, rows - 2)), draw(st.integers(0, columns - 2))
    box = Box(row, column, draw(st.integers(1, rows - row)), draw(st.integers(1, columns - column)))
    return dataset, containers, box


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=made_images())
def test_inside_a_region_is_the_fill_and_outside_nothing_changed(made: tuple[FileDataset, NDArray[Any], Box]) -> None:
    dataset, before, box = made
    redaction = redact(dataset, Policy("all-text"), FindsBoxes(box))
    again = reread(dataset)
    after = used_bits_of(again, containers_of(again))
    inside = np.zeros(before.shape, bool)
    inside[:, box.row : box.row + box.height, box.column : box.column + box.width] = True
    assert np.array_equal(after[~inside], before[~inside])
    assert len(np.unique(after[inside].reshape(-1, *before.shape[3:]), axis=0)) == 1
    assert redaction.outcome is Outcome.CLEANED
    assert int(again.NumberOfFrames) == len(before)
    assert again.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=made_images())
def test_where_nothing_is_found_the_pixel_data_is_byte_for_byte_as_it_came(
    made: tuple[FileDataset, NDArray[Any], Box],
) -> None:
    dataset, _, _ = made
    before = dataset.PixelData
    redaction = redact(dataset, Policy("all-text"), FindsBoxes())
    assert redaction.outcome is Outcome.UNCHANGED
    assert (redaction.regions, redaction.actions) == ((), ())
    assert reread(dataset).PixelData == before


def test_text_that_stays_by_policy_changes_nothing() -> None:
    dataset = image(np.random.default_rng(1).integers(0, 255, (1, 16, 16)).astype("u1"))
    before = dataset.PixelData
    detector = FindsBoxes(Box(2, 2, 4, 4), reads=Reading("120 kV", 0.99))
    assert redact(dataset, Policy("keep-safe-text"), detector).outcome is Outcome.UNCHANGED
    assert reread(dataset).PixelData == before


def test_unused_bits_alone_are_cleared_and_the_picture_stays() -> None:
    values = np.random.default_rng(1).integers(0, 4096, (2, 16, 16)).astype("u2")
    hidden = values.copy()
    hidden[1, 4:8, 4:8] |= 0x8000
    dataset = image(hidden, stored=12)
    redaction = redact(dataset, Policy("all-text"), FindsBoxes())
    assert (redaction.outcome, redaction.actions) == (Outcome.CLEANED, ("unused bits cleared",))
    assert reread(dataset).PixelData == values.tobytes()


def test_text_in_unused_bits_of_a_plain_picture_goes() -> None:
    hidden = np.full((1, 16, 16), 7, "u2")
    hidden[0, 4:8, 4:8] |= 0x8000
    dataset = image(hidden, stored=12)
    redact(dataset, Policy("all-text"), FindsBoxes())
    assert set(np.frombuffer(reread(dataset).PixelData, "u2")) == {7}


def test_baseline_jpeg_is_painted_in_its_own_blocks() -> None:
    frame = np.random.default_rng(1).integers(0, 255, (1, 32, 32)).astype("u1")
    dataset = image(frame, syntax=JPEGBaseline8Bit)
    before, decoded = dataset.PixelData, dataset.pixel_array.copy()
    assert redact(dataset, Policy("all-text"), FindsBoxes()).outcome is Outcome.UNCHANGED
    assert dataset.PixelData == before
    (region,) = redact(dataset, Policy("all-text"), FindsBoxes(Box(9, 3, 2, 4))).regions
    assert (region.row, region.column, region.height, region.width) == (8, 0, 8, 8)
    after = reread(dataset).pixel_array
    decoded[8:16, :8] = 0
    assert np.array_equal(after, decoded)
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit


def test_12_bit_jpeg_moves_to_jpeg_lossless_with_all_that_was_decoded() -> None:
    dataset = dcmread(str(get_testdata_file("JPGExtended.dcm")))
    decoded = open_frames(dataset).read(0)
    redaction = redact(dataset, Policy("all-text"), FindsBoxes(Box(9, 3, 2, 4)))
    assert redaction.actions == ("transfer syntax changed to JPEG Lossless",)
    again = reread(dataset)
    assert again.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert again.LossyImageCompression == "01"
    after = open_frames(again).read(0)
    decoded[9:11, 3:7] = after[9, 3]
    assert np.array_equal(after, decoded)
