"""What the Image Pixel module may say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom_node.errors import Hold
from dicom_node.redaction.format import pixel_format
from tests.unit.redaction.made import image

GREY = np.zeros((1, 16, 16), "u2")
COLOUR = np.zeros((1, 16, 16, 3), "u1")


@pytest.mark.parametrize(
    ("frames", "attributes"),
    [
        (GREY, {"PhotometricInterpretation": "RGB"}),
        (GREY, {"PhotometricInterpretation": ["MONOCHROME2", "RGB"]}),
        (GREY, {"PhotometricInterpretation": ""}),
        (GREY, {"SamplesPerPixel": 3}),
        (GREY, {"SamplesPerPixel": None}),
        (GREY, {"Rows": 0}),
        (GREY, {"Columns": [16, 16]}),
        (GREY, {"NumberOfFrames": 0}),
        (GREY, {"NumberOfFrames": -1}),
        (GREY, {"BitsAllocated": 12}),
        (GREY, {"BitsAllocated": 64}),
        (GREY, {"BitsStored": 0}),
        (GREY, {"BitsStored": 17}),
        (GREY, {"BitsStored": None}),
        (GREY, {"HighBit": 16}),
        (GREY, {"BitsStored": 12, "HighBit": 10}),
        (GREY, {"PixelRepresentation": 2}),
        (COLOUR, {"PhotometricInterpretation": "YBR_PARTIAL_420"}),
        (COLOUR, {"PhotometricInterpretation": "YBR_RCT"}),
        (COLOUR, {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 2}),
        (COLOUR, {"PhotometricInterpretation": "RGB", "PixelRepresentation": 1}),
        (COLOUR, {"PhotometricInterpretation": "YBR_FULL_422", "Columns": 15}),
        (COLOUR, {"PhotometricInterpretation": "YBR_FULL_422", "PlanarConfiguration": 1}),
    ],
)
def test_what_does_not_add_up_is_held(frames: np.ndarray[Any, Any], attributes: dict[str, Any]) -> None:
    dataset = image(frames, **attributes)
    with pytest.raises(Hold):
        pixel_format(dataset)


def test_a_number_that_cannot_be_read_is_held() -> None:
    dataset = image(GREY)
    dataset["NumberOfFrames"]._value = "many"  # noqa: SLF001 - what a file can hold, and the setter refuses
    with pytest.raises(Hold, match="NumberOfFrames"):
        pixel_format(dataset)


def test_a_codestream_whose_samples_would_have_to_be_shifted_is_held() -> None:
    attributes: dict[str, Any] = {"BitsStored": 12, "HighBit": 15}
    with pytest.raises(Hold, match="High Bit"):
        pixel_format(image(GREY, syntax=JPEGLSLossless, **attributes))
    assert pixel_format(image(GREY, syntax=RLELossless, **attributes)).high_bit == 15


def test_the_range_of_stored_values_follows_bits_stored_and_sign() -> None:
    unsigned, signed = pixel_format(image(GREY, stored=12)), pixel_format(image(GREY, stored=12, signed=True))
    assert (unsigned.lowest, unsigned.highest) == (0, 4095)
    assert (signed.lowest, signed.highest) == (-2048, 2047)
