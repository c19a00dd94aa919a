"""What regions are painted with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.pixels import apply_color_lut  # type: ignore[attr-defined]  # of its documented interface

from dicom_node.errors import Hold
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import Box
from tests.unit.redaction.made import FindsBoxes, image, reread

BOX = Box(2, 3, 4, 5)
INSIDE = (slice(2, 6), slice(3, 8))
GREY = np.random.default_rng(2).integers(100, 900, (1, 12, 14)).astype("u2")
COLOUR = np.random.default_rng(2).integers(1, 255, (1, 12, 14, 3)).astype("u1")


def painted(frames: np.ndarray[Any, Any], fill: str | int = "black", **kind: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
    dataset = image(frames, **kind)
    redact(dataset, Policy("all-text", fill), FindsBoxes(BOX))
    after: np.ndarray[Any, Any] = reread(dataset).pixel_array
    return after[INSIDE]


def test_black_is_dark_in_either_direction_of_grey() -> None:
    assert set(np.unique(painted(GREY))) == {GREY.min()}
    assert set(np.unique(painted(GREY, photometric="MONOCHROME1"))) == {GREY.max()}
    assert set(np.unique(painted(GREY, RescaleSlope=-1, RescaleIntercept=0))) == {GREY.max()}


def test_black_reaches_down_to_the_edge_of_the_window() -> None:
    assert set(np.unique(painted(GREY, WindowCenter=500, WindowWidth=900))) == {50}
    assert set(np.unique(painted(GREY, WindowCenter=0, WindowWidth=4000))) == {0}


def test_black_of_signed_values_is_the_smallest() -> None:
    signed = (GREY.astype("i4") - 600).astype("i2")
    assert set(np.unique(painted(signed.view("u2"), signed=True))) == {signed.min()}


def test_black_of_colour_is_black() -> None:
    """pydicom shows YBR as RGB."""
    assert set(np.unique(painted(COLOUR, photometric="RGB"))) == {0}
    assert set(np.unique(painted(COLOUR, photometric="YBR_FULL"))) == {0}


def test_pairs_that_share_their_chrominance_are_painted_whole() -> None:
    rows, columns = 8, 10
    stored = np.random.default_rng(4).integers(1, 255, (rows, columns // 2, 4)).astype("u1")
    dataset = image(np.zeros((1, rows, columns, 3), "u1"), photometric="YBR_FULL_422", PixelData=stored.tobytes())
    redact(dataset, Policy("all-text"), FindsBoxes(BOX))
    after = np.frombuffer(reread(dataset).PixelData, "u1").reshape(stored.shape)
    expected = stored.copy()
    expected[2:6, 1:4] = (0, 0, 128, 128)
    assert np.array_equal(after, expected)


def test_a_palette_is_painted_with_its_darkest_colour() -> None:
    ramp = np.roll(np.arange(256) * 257, 77).astype("<u2").tobytes()
    kind: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        kind[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        kind[f"{colour}PaletteColorLookupTableData"] = ramp
    dataset = image(COLOUR[..., 0], photometric="PALETTE COLOR", **kind)
    redact(dataset, Policy("all-text"), FindsBoxes(BOX))
    again = reread(dataset)
    assert not apply_color_lut(again.pixel_array, again)[INSIDE].any()


def test_background_and_contrast_are_taken_from_around() -> None:
    frame = np.full((1, 12, 14), 200, "u2")
    frame[0, 3:5, 4:7] = 900
    frame[0, 11, 13] = 1000
    assert set(np.unique(painted(frame, "background"))) == {200}
    assert set(np.unique(painted(frame, "contrast"))) == {1000}


def test_a_number_is_a_stored_value_and_has_to_fit() -> None:
    assert set(np.unique(painted(GREY, 777))) == {777}
    with pytest.raises(Hold, match="cannot be stored"):
        painted(GREY, 70000)


def test_a_value_stands_in_its_bits() -> None:
    assert set(np.unique(painted(GREY << 4, 5, stored=12, high_bit=15) >> 4)) <= {0, 5}
