"""Whatever a header says of windows and palettes: text in the stored values can be seen, or the instance is held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicom_node.errors import Hold
from dicom_node.redaction.format import pixel_format
from dicom_node.redaction.frames import open_frames
from dicom_node.redaction.render import Renderer, stored_window
from tests.unit.redaction.made import TEXT, image, with_text

SHAPE = (32, 48)
VISIBLE = 20
"""Grey levels between ground and ink that are seen."""


def sees_text(dataset: Any) -> bool:  # noqa: ANN401 - a data set
    frames = open_frames(dataset)
    group = [frames.read(i) for i in range(frames.pixels.frames)]
    place = (slice(TEXT.row, TEXT.row + TEXT.height), slice(TEXT.column, TEXT.column + TEXT.width))
    pictures = Renderer(dataset, frames.pixels).pictures(group)
    return any(int(np.ptp(picture[place], axis=(0, 1)).max()) >= VISIBLE for picture in pictures)


WINDOWS = [
    {},
    {"WindowCenter": 40, "WindowWidth": 400},
    {"WindowCenter": 60000, "WindowWidth": 2},
    {"WindowCenter": -60000, "WindowWidth": 10},
    {"WindowCenter": 0, "WindowWidth": "1e300"},
    {"WindowCenter": "1e308", "WindowWidth": "1e308"},
    {"WindowCenter": 1000, "WindowWidth": 0},
    {"WindowCenter": 1000, "WindowWidth": -5},
    {"WindowCenter": [40, 300], "WindowWidth": [1, 2]},
    {"WindowCenter": None, "WindowWidth": None},
    {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 0, "RescaleIntercept": 0},
    {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": "1e-320", "RescaleIntercept": "1e300"},
    {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": -1, "RescaleIntercept": "9e15"},
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("ground", "ink"), [(100, 160), (160, 100), (0, 40), (65535, 65000)])
@pytest.mark.parametrize("frames", [1, 3])
def test_text_is_seen_through_any_window(
    window: dict[str, Any], photometric: str, ground: int, ink: int, frames: int
) -> None:
    stack = np.stack([with_text(SHAPE, ground, ink)] * frames)
    assert sees_text(image(stack, photometric=photometric, **window))


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 60000, "WindowWidth": 2}], ids=["none", "absurd"])
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("far", [[65535], [65535, 0], [65535] * 9])
def test_a_few_far_values_do_not_hide_text(window: dict[str, Any], frames: int, far: list[int]) -> None:
    frame = with_text(SHAPE, 100, 160)
    frame[-1, -len(far) :] = far
    assert sees_text(image(np.stack([frame] * frames), **window))


@pytest.mark.parametrize("frames", [1, 3])
def test_padding_does_not_hide_text(frames: int) -> None:
    frame = with_text(SHAPE, 100, 160)
    frame[24:] = 0x8000
    assert sees_text(image(np.stack([frame] * frames), signed=True, PixelPaddingValue=-32768))


@pytest.mark.parametrize("frames", [1, 3])
def test_an_8_bit_image_is_seen_beside_its_window(frames: int) -> None:
    stack = np.stack([with_text(SHAPE, 100, 160, "u1")] * frames)
    stack[:, -1, -1] = 255
    assert sees_text(image(stack, WindowCenter=254, WindowWidth=1))


@pytest.mark.parametrize("text", [b"NaN", b"inf", b"-inf", b"wide", b"1,5"])
def test_a_window_that_is_no_number_is_none(text: bytes) -> None:
    dataset = image(np.stack([with_text(SHAPE, 100, 160)]), WindowCenter="1", WindowWidth="2")
    element = dataset.get_item("WindowCenter")
    dataset._dict[element.tag] = element._replace(value=text)  # type: ignore[attr-defined]  # noqa: SLF001 - what a file can hold
    assert stored_window(dataset) is None
    assert sees_text(dataset)


def test_32_bit_values_far_from_zero_are_seen() -> None:
    frame = with_text(SHAPE, 4_000_000_000, 4_000_000_003, "u4")
    assert sees_text(image(frame[None]))


@pytest.mark.parametrize(("stored", "high_bit"), [(12, 11), (12, 15), (12, 13), (7, 6)])
@pytest.mark.parametrize("signed", [False, True])
def test_text_is_seen_at_any_high_bit_and_sign(stored: int, high_bit: int, signed: bool) -> None:  # noqa: FBT001
    frame = with_text(SHAPE, 3, 90) << (high_bit + 1 - stored)
    assert sees_text(image(frame[None], stored=stored, high_bit=high_bit, signed=signed))


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("sample", [0, 1, 2])
def test_text_in_one_colour_is_seen(planar: int, photometric: str, sample: int) -> None:
    ground, ink = [128, 128, 128], [128, 128, 128]
    ink[sample] = 210
    frame = with_text((*SHAPE, 3), ground, ink, "u1")
    assert sees_text(image(frame[None], photometric=photometric, planar=planar))


@pytest.mark.parametrize(("stored", "ink"), [(16, 200), (12, 200), (4, 5)])
def test_colour_that_uses_few_of_its_bits_is_seen(stored: int, ink: int) -> None:
    frame = with_text((*SHAPE, 3), 0, ink)
    frame[-1, -1] = (1 << stored) - 1
    assert sees_text(image(frame[None], photometric="RGB", stored=stored))


def palette(first: int, bits: int, entries: np.ndarray[Any, Any], syntax: str) -> dict[str, Any]:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    content = entries.astype(f"{order}u2").tobytes()
    attributes: dict[str, Any] = {}
    for colour in ("Red", "Green", "Blue"):
        attributes[f"{colour}PaletteColorLookupTableDescriptor"] = [len(entries), first, bits]
        attributes[f"{colour}PaletteColorLookupTableData"] = content
    return attributes


PALETTES = {
    "grey": (0, np.arange(256) * 257),
    "first mapped 50": (50, np.arange(256) * 257),
    "dark": (0, np.arange(256)),
    "black": (0, np.zeros(256)),
    "two alike": (0, np.where(np.arange(256) == 7, 65535, 1000)),
}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=["little", "big"])
@pytest.mark.parametrize("kind", list(PALETTES))
def test_text_is_seen_through_any_palette_and_beside_it(kind: str, syntax: str) -> None:
    first, entries = PALETTES[kind]
    frame = with_text(SHAPE, 60, 150, "u1")
    frame[-1, -1] = 255
    dataset = image(frame[None], photometric="PALETTE COLOR", syntax=syntax, **palette(first, 16, entries, syntax))
    assert sees_text(dataset)


def test_a_missing_palette_is_held() -> None:
    dataset = image(with_text(SHAPE, 60, 150, "u1")[None], photometric="PALETTE COLOR")
    with pytest.raises(Hold, match="palette"):
        Renderer(dataset, pixel_format(dataset)).pictures([open_frames(dataset).read(0)])
