"""Barcodes go under every policy that looks at pixels, read or not; what is no barcode stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import zxingcpp
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from dicom_node.model import Outcome
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.barcodes import find_barcodes
from dicom_node.redaction.boxes import Box, contains
from dicom_node.redaction.frames import open_frames
from dicom_node.redaction.render import Renderer
from tests.unit.redaction.made import FindsBoxes, image, reread

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODULES = ("QRCode", "DataMatrix", "PDF417", "Aztec")
BARS = ("Code128", "Code39", "Code93", "EAN13", "EAN8", "UPCA", "ITF", "Codabar")
CONTENT = {"EAN13": "590123412345", "EAN8": "9638507", "UPCA": "03600029145", "ITF": "47110815", "Codabar": "A4711B"}
BOX = Box(60, 80, 0, 0)


def drawn(kind: str, module: int, *, quarters: int = 0) -> NDArray[np.uint8]:
    """Draw a made-up number as a code: 1 where a module is dark."""
    barcode = zxingcpp.create_barcode(CONTENT.get(kind, "MRN 4711"), getattr(zxingcpp.BarcodeFormat, kind))
    modules = (np.array(barcode.to_image(add_quiet_zones=False)) < 128).astype(np.uint8)
    if kind in BARS:
        modules = modules[:30]
    return np.asarray(np.rot90(modules.repeat(module, axis=0).repeat(module, axis=1), quarters))


def burned(kind: str, module: int, *, light_on_dark: bool = False, contrast: int = 200, quarters: int = 0) -> Any:  # noqa: ANN401 - picture and box
    """Draw a code with its quiet zone into noise."""
    ink = drawn(kind, module, quarters=quarters)
    picture = np.random.default_rng(3).normal(60, 6, (420, 460)).clip(0, 255).astype(np.uint8)
    height, width = ink.shape
    box, quiet = Box(BOX.row, BOX.column, height, width), 10 * module
    ground, step = (10, contrast) if light_on_dark else (230, -contrast)
    picture[box.row - quiet : box.row + height + quiet, box.column - quiet : box.column + width + quiet] = ground
    picture[box.row : box.row + height, box.column : box.column + width] = ground + step * ink.astype(int)
    return np.stack([picture] * 3, axis=-1), box


def is_found(picture: NDArray[np.uint8], box: Box) -> bool:
    return any(contains(found, box) for found in find_barcodes([picture]))


@pytest.mark.parametrize("light_on_dark", [False, True])
@pytest.mark.parametrize("kind", MODULES + BARS)
def test_a_code_is_found_whichever_way_it_is_turned_and_inverted(kind: str, light_on_dark: bool) -> None:  # noqa: FBT001 - a parameter
    for quarters in range(4):
        picture, box = burned(kind, 2, light_on_dark=light_on_dark, quarters=quarters)
        assert is_found(picture, box)


@pytest.mark.parametrize("kind", MODULES + BARS)
def test_a_pale_code_is_found(kind: str) -> None:
    picture, box = burned(kind, 2, contrast=76)
    assert is_found(picture, box)


@pytest.mark.parametrize("kind", BARS)
def test_bars_of_one_pixel_are_found(kind: str) -> None:
    picture, box = burned(kind, 1)
    assert is_found(picture, box)


@pytest.mark.parametrize("kind", BARS)
def test_bars_that_no_reader_reads_are_found(kind: str) -> None:
    picture, box = burned(kind, 2)
    inside = (slice(box.row, box.row + box.height), slice(box.column, box.column + box.width))
    picture[inside][:, 2 * 5 : 2 * 8] = 230
    picture[inside][:, -2 * 8 : -2 * 5] = 230
    assert not zxingcpp.read_barcodes(picture)
    assert is_found(picture, box)


def test_a_damaged_qr_code_is_found() -> None:
    picture, box = burned("QRCode", 4)
    row, column = box.row + box.height - 40, box.column + box.width - 40
    picture[row : row + 40, column : column + 40] = 230
    assert not zxingcpp.read_barcodes(picture)
    assert is_found(picture, box)


def test_a_code_in_one_view_or_in_one_colour_is_found() -> None:
    picture, box = burned("DataMatrix", 3)
    plain = np.full_like(picture, 40)
    assert any(contains(found, box) for found in find_barcodes([plain, picture]))
    for sample in range(3):
        coloured = plain.copy()
        coloured[..., sample] = picture[..., sample]
        assert is_found(coloured, box)


def test_text_rulers_grids_and_line_pairs_are_no_barcodes() -> None:
    picture = np.zeros((512, 512, 3), np.uint8)
    for row in range(20, 200, 18):
        cv2.putText(
            picture, "DOE^JANE 4711-0815 THK 5.0 mm IIlll", (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230,) * 3, 1
        )
    picture[220:260, 20:500:6] = 220
    picture[280:400:5, 20:200] = 220
    for start, width in ((220, 1), (260, 2), (320, 4)):
        picture[280:400, start : start + 40][:, np.arange(40) // width % 2 == 0] = 220
    assert find_barcodes([picture]) == []


@pytest.mark.parametrize(
    "name", ["693_J2KR.dcm", "MR2_J2KR.dcm", "RG3_J2KR.dcm", "US1_J2KR.dcm", "CT_small.dcm", "examples_ybr_color.dcm"]
)
def test_real_images_without_a_barcode_have_none(name: str) -> None:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    dataset = dcmread(path)
    frames = open_frames(dataset)
    assert find_barcodes(Renderer(dataset, frames.pixels).pictures([frames.read(0)])) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (3, 65535), (65535, 40), (7, 9), (17, 33), (64, 64)])
def test_no_shape_of_a_picture_raises(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert isinstance(find_barcodes([noise, 255 * (noise > 127).astype(np.uint8)]), list)
    assert find_barcodes([np.full((*shape, 3), 255, np.uint8)]) == []


@pytest.mark.parametrize("policy", ["all-text", "keep-safe-text", "phi-only"])
@pytest.mark.parametrize("is_colour", [False, True])
@pytest.mark.parametrize("kind", ["QRCode", "Code128", "DataMatrix", "PDF417"])
def test_a_code_is_gone_and_every_other_pixel_is_as_it_was(kind: str, is_colour: bool, policy: str) -> None:  # noqa: FBT001 - a parameter
    before = _instance(kind, is_colour=is_colour)
    assert zxingcpp.read_barcodes(_shown(before))
    values = before.pixel_array.copy()
    redaction = redact(before, Policy(policy), FindsBoxes())
    after = reread(before)
    assert redaction.outcome is Outcome.CLEANED
    assert not zxingcpp.read_barcodes(_shown(after), return_errors=True)
    outside = np.ones(values.shape[:2], bool)
    for region in redaction.regions:
        outside[region.row : region.row + region.height, region.column : region.column + region.width] = False
    assert outside.mean() > 0.7
    assert np.array_equal(after.pixel_array[outside], values[outside])


def _instance(kind: str, *, is_colour: bool) -> Dataset:
    """Make CT of 16 bits, or a picture in colour, with a code in it."""
    picture, _ = burned(kind, 2)
    if is_colour:
        return image((picture * np.array((1, 0.8, 0.6))).astype("u1")[None], photometric="RGB")
    return image(picture[None, ..., 0].astype("u2") * 12, stored=12, WindowCenter=1500, WindowWidth=3000)


def _shown(dataset: Dataset) -> NDArray[np.uint8]:
    pixels = dataset.pixel_array
    return np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else (pixels // 16).astype(np.uint8))


def test_a_code_in_an_overlay_that_is_kept_is_cleared() -> None:
    dataset = image(np.random.default_rng(1).integers(0, 255, (1, 420, 460)).astype("u1"))
    code = drawn("QRCode", 3)
    bits = np.zeros((420, 460), np.uint8)
    bits[60 : 60 + len(code), 80 : 80 + len(code)] = code
    dataset.add_new(0x60000010, "US", 420)
    dataset.add_new(0x60000011, "US", 460)
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    dataset.add_new(0x60000100, "US", 1)
    dataset.add_new(0x60000102, "US", 0)
    dataset.add_new(0x60003000, "OW", np.packbits(bits.reshape(-1), bitorder="little").tobytes())
    redact(dataset, Policy("phi-only", overlays="redact"), FindsBoxes())
    assert not np.frombuffer(dataset[0x60003000].value, np.uint8).any()
