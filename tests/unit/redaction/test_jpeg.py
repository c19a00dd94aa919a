"""Regions out of sequential JPEG, checked by a reader of coefficients that shares nothing with what is tested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import deid_data
import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames

from dicom_node.redaction import jpeg
from tests.support.jpeg_blocks import (
    Picked,
    assert_only_painted_blocks_are_others,
    blocks_in_order,
    mask_of,
    picked,
    widened,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Rectangle = tuple[int, int, int, int]

SAMPLINGS = {
    "411": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    "420": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "422": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "440": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "444": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
MCUS = {"411": (8, 32), "420": (16, 16), "422": (8, 16), "440": (16, 8), "444": (8, 8), "grey": (8, 8)}
DEID_DATA = Path(str(deid_data.__file__)).parent / "data"
REAL = (
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "examples_ybr_color.dcm",
    "color3d_jpeg_baseline.dcm",
    *(f"dicom-cookies/image{number}.dcm" for number in (1, 4, 7)),
    "humans/ctbrain1.dcm",
)


def picture(rows: int, columns: int, samples: int = 3, seed: int = 1) -> NDArray[np.uint8]:
    """Return texture on a slope: every block has AC, and no two blocks are alike."""
    noise = np.random.default_rng(seed).normal(0, 20, (rows, columns, samples))
    slope = np.add.outer(np.linspace(40, 160, rows), np.linspace(0, 60, columns))[..., None]
    return np.clip(slope + noise, 0, 255).astype(np.uint8)


def encoded(
    samples: NDArray[np.uint8], sampling: str, quality: int = 80, restart: int = 0, *, optimised: bool = False
) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, restart]
    options += [cv2.IMWRITE_JPEG_OPTIMIZE, int(optimised)]
    if sampling == "grey":
        return bytes(cv2.imencode(".jpg", samples[..., 0], options)[1])
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling]]
    return bytes(cv2.imencode(".jpg", samples[..., ::-1], options)[1])


def encoded_rgb(samples: NDArray[np.uint8]) -> bytes:
    """Return a codestream without colour transform: Adobe's marker says so, and the component identifiers do."""
    return bytes(imagecodecs.jpeg8_encode(samples, level=90, colorspace="rgb", outcolorspace="rgb"))


def decoded(codestream: bytes) -> NDArray[np.uint8]:
    return np.asarray(imagecodecs.jpeg8_decode(codestream))


def in_scans_of_their_own(codestream: bytes) -> bytes:
    """Write the same coefficients with one scan for each component."""
    found = picked(codestream)
    pieces = [b"\xff\xd8"]
    for marker, payload in found.segments:
        if marker != 0xDA:
            pieces.append(_written(marker, payload))
            continue
        for index in range(payload[0]):
            chosen = payload[1 + 2 * index : 3 + 2 * index]
            pieces += [_written(marker, b"\1" + chosen + b"\0\x3f\0"), _scan_of(found, chosen[0], chosen[1])]
    return b"".join([*pieces, b"\xff\xd9"])


def _written(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(payload) + 2).to_bytes(2) + payload


def _scan_of(found: Picked, name: int, tables: int) -> bytes:
    dc = {symbol: code for code, symbol in found.tables[tables >> 4].items()}
    ac = {symbol: code for code, symbol in found.tables[0x10 | tables & 15].items()}
    bits, predicted = "", 0
    for [(_, row, column)] in blocks_in_order(found, [name]):
        block = [int(value) for value in found.coefficients[name][row, column]]
        bits += _coded(dc, 0, block[0] - predicted)
        predicted, run = block[0], 0
        last = max((index for index in range(1, 64) if block[index]), default=0)
        for value in block[1 : last + 1]:
            if value and run > 15:
                bits += ac[0xF0] * (run // 16)
            bits += _coded(ac, run % 16, value) if value else ""
            run = 0 if value else run + 1
        bits += ac[0] if last < 63 else ""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")


def _coded(table: dict[int, str], run: int, value: int) -> str:
    size = abs(value).bit_length()
    number = value if value > 0 else value + (1 << size) - 1
    return table[run << 4 | size] + (f"{number:0{size}b}" if size else "")


def assert_only_inside_is_black(before: bytes, after: bytes, areas: list[Rectangle], *, subsampled: bool) -> None:
    """Assert it of the decoded pixels; where chroma is subsampled, but for the seam of one pixel on both sides."""
    was, now = decoded(before), decoded(after)
    mask = mask_of(areas, was.shape)
    inside, outside = (~widened(~mask), ~widened(mask)) if subsampled else (mask, ~mask)
    assert inside.any()
    assert not now[inside].any()
    np.testing.assert_array_equal(now[outside], was[outside])


def black(codestream: bytes) -> tuple[int, ...]:
    return (0,) * (1 if decoded(codestream).ndim == 2 else 3)


def assert_cleaned(codestream: bytes, regions: list[Rectangle], *, subsampled: bool) -> None:
    painted, areas = jpeg.paint(codestream, regions, black(codestream)), jpeg.grown(codestream, regions)
    assert_only_painted_blocks_are_others(codestream, painted, areas)
    assert_only_inside_is_black(codestream, painted, areas, subsampled=subsampled)


@pytest.mark.parametrize("restart", [0, 1, 3])
@pytest.mark.parametrize("sampling", MCUS)
def test_blocks_outside_keep_their_coefficients_and_those_inside_are_black(sampling: str, restart: int) -> None:
    codestream = encoded(picture(75, 107), sampling, restart=restart)
    assert_cleaned(codestream, [(20, 30, 11, 40)], subsampled=sampling not in {"444", "grey"})


@pytest.mark.parametrize("quality", [5, 30, 75, 95, 100])
@pytest.mark.parametrize("sampling", ["420", "444"])
@pytest.mark.parametrize("optimised", [False, True])
def test_black_is_black_at_every_quality_and_with_optimised_tables(
    sampling: str, quality: int, *, optimised: bool
) -> None:
    codestream = encoded(picture(64, 70), sampling, quality, optimised=optimised)
    assert_cleaned(codestream, [(9, 9, 20, 20)], subsampled=sampling == "420")


@pytest.mark.parametrize(
    "regions",
    [
        [(0, 0, 1, 1)],
        [(74, 106, 1, 1)],
        [(74, 0, 9, 999)],
        [(-5, 100, 200, 50)],
        [(10, 10, 30, 30), (25, 25, 30, 30)],
        [(0, 0, 75, 107)],
    ],
    ids=["first", "last", "bottom", "right", "overlapping", "all"],
)
@pytest.mark.parametrize("sampling", MCUS)
def test_regions_may_lie_at_borders_overlap_and_cover_everything(sampling: str, regions: list[Rectangle]) -> None:
    codestream = encoded(picture(75, 107), sampling, restart=5)
    assert_cleaned(codestream, regions, subsampled=sampling not in {"444", "grey"})


REGIONS = st.lists(
    st.tuples(st.integers(0, 49), st.integers(0, 69), st.integers(1, 50), st.integers(1, 70)), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(st.data(), REGIONS)
def test_whatever_size_sampling_and_regions_only_touched_blocks_change(
    data: st.DataObject, regions: list[Rectangle]
) -> None:
    samples = picture(data.draw(st.integers(1, 50), "rows"), data.draw(st.integers(1, 70), "columns"))
    codestream = encoded(
        samples,
        data.draw(st.sampled_from(sorted(MCUS)), "sampling"),
        data.draw(st.integers(1, 100), "quality"),
        data.draw(st.integers(0, 6), "restart"),
        optimised=data.draw(st.booleans(), "optimised"),
    )
    painted = jpeg.paint(codestream, regions, black(codestream))
    assert_only_painted_blocks_are_others(codestream, painted, jpeg.grown(codestream, regions))


@pytest.mark.parametrize("sampling", ["420", "422", "444"])
def test_components_may_have_scans_of_their_own(sampling: str) -> None:
    together = encoded(picture(75, 107), sampling)
    apart = in_scans_of_their_own(together)
    np.testing.assert_array_equal(decoded(apart), decoded(together))
    assert_cleaned(apart, [(20, 30, 11, 40)], subsampled=sampling != "444")


def test_an_rgb_codestream_is_painted_without_colour_transform() -> None:
    codestream = encoded_rgb(picture(40, 50))
    painted = jpeg.paint(codestream, [(0, 0, 16, 16)], (255, 0, 0))
    assert_only_painted_blocks_are_others(codestream, painted, [(0, 0, 16, 16)])
    assert (decoded(painted)[:16, :16] == (255, 0, 0)).all()


def test_component_identifiers_say_rgb_where_no_segment_does() -> None:
    codestream = encoded_rgb(picture(40, 50))
    unmarked = codestream.replace(codestream[2:18], b"", 1)
    assert (decoded(jpeg.paint(unmarked, [(0, 0, 8, 8)], (255, 0, 0)))[:8, :8] == (255, 0, 0)).all()


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0)])
@pytest.mark.parametrize("quality", [1, 20, 50, 90, 100])
def test_black_and_white_are_exact_whatever_the_quantisation(quality: int, colour: tuple[int, ...]) -> None:
    for sampling, wanted in (("444", colour), ("grey", colour[:1])):
        painted = jpeg.paint(encoded(picture(24, 24), sampling, quality), [(8, 8, 8, 8)], wanted)
        assert (decoded(painted)[8:16, 8:16] == wanted).all()


@pytest.mark.parametrize("colour", [(200, 40, 90), (128, 128, 128), (0, 255, 0)])
def test_a_colour_is_met_as_near_as_the_quantisation_allows(colour: tuple[int, ...]) -> None:
    painted = jpeg.paint(encoded(picture(24, 24), "444", 95), [(8, 8, 8, 8)], colour)
    assert np.abs(decoded(painted)[8:16, 8:16].astype(int) - colour).max() <= 2


def test_regions_grow_to_whole_mcus_and_end_with_the_image() -> None:
    regions = [(9, 17, 1, 1), (70, 100, 99, 99), (75, 0, 5, 5), (0, 0, 0, 9)]
    expected = {
        "444": [(8, 16, 8, 8), (64, 96, 11, 11)],
        "422": [(8, 16, 8, 16), (64, 96, 11, 11)],
        "420": [(0, 16, 16, 16), (64, 96, 11, 11)],
    }
    for sampling, areas in expected.items():
        assert jpeg.grown(encoded(picture(75, 107), sampling), regions) == areas


def test_without_a_region_in_the_image_the_codestream_is_returned_as_it_is() -> None:
    codestream = encoded(picture(75, 107), "420")
    assert jpeg.paint(codestream, [(75, 0, 9, 9), (3, 3, 0, 5)], (0, 0, 0)) is codestream


def test_a_painted_codestream_is_hardly_longer_and_mostly_shorter() -> None:
    codestream = encoded(picture(75, 107), "422")
    assert len(jpeg.paint(codestream, [(8, 16, 8, 64)], (0, 0, 0))) < len(codestream)


def test_comments_and_thumbnails_do_not_survive() -> None:
    codestream = encoded(picture(24, 24), "444")
    thumbnail = b"JFIF\0\1\1\0\0\1\0\1\2\1" + b"tinypx"
    words = _written(0xE0, thumbnail) + _written(0xE1, b"Exif\0\0DOE^JANE") + _written(0xFE, b"DOE^JANE")
    assert codestream[2:4] == b"\xff\xe0"
    painted = jpeg.paint(b"\xff\xd8" + words + codestream[20:], [(0, 0, 8, 8)], (0, 0, 0))
    assert b"tinypx" not in painted
    assert b"DOE^JANE" not in painted
    assert_only_painted_blocks_are_others(codestream, painted, [(0, 0, 8, 8)])


def real_frames(name: str, count: int = 2) -> Iterator[bytes]:
    """Yield the first frames of a file of a public package."""
    path = DEID_DATA / name if "/" in name else Path(str(get_testdata_file(name, download=False)))
    dataset: Any = dcmread(path)
    frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    yield from (frame for _, frame in zip(range(count), frames, strict=False))


@pytest.mark.parametrize("name", REAL)
def test_real_images_change_only_where_they_are_painted(name: str) -> None:
    for codestream in real_frames(name):
        samples = decoded(codestream)
        rows, columns = samples.shape[:2]
        regions = [(rows // 8, columns // 8, rows // 4 + 1, columns // 2 + 1)]
        painted, areas = jpeg.paint(codestream, regions, black(codestream)), jpeg.grown(codestream, regions)
        assert_only_inside_is_black(codestream, painted, areas, subsampled=samples.ndim > 2)
        assert len(painted) < len(codestream) + 64  # a Huffman table may have to be written once more


@pytest.mark.parametrize(
    "codestream",
    [
        b"",
        b"\xff\xd8\xff\xd9",
        b"not a codestream",
        bytes(imagecodecs.jpeg8_encode(picture(16, 16), lossless=True)),
        bytes(cv2.imencode(".jpg", picture(16, 16), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]),
    ],
    ids=["empty", "no frame", "text", "lossless", "progressive"],
)
def test_what_is_not_sequential_dct_is_not_editable(codestream: bytes) -> None:
    assert not jpeg.editable(codestream)
    for call in (lambda: jpeg.paint(codestream, [(0, 0, 8, 8)], (0, 0, 0)), lambda: jpeg.grown(codestream, [])):
        with pytest.raises(ValueError, match=r"."):
            call()


def test_extended_sequential_is_editable_with_8_bit_only() -> None:
    extended = encoded(picture(24, 24), "444").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x08")
    assert jpeg.editable(extended)
    assert_cleaned(extended, [(0, 0, 8, 8)], subsampled=False)
    assert not jpeg.editable(extended.replace(b"\xff\xc1\0\x11\x08", b"\xff\xc1\0\x11\x0c"))


def test_a_colour_that_does_not_fit_the_components_is_an_error() -> None:
    for colour in ((0,), (0, 0, 256)):
        with pytest.raises(ValueError, match="colour"):
            jpeg.paint(encoded(picture(16, 16), "444"), [(0, 0, 8, 8)], colour)


@pytest.mark.parametrize("restart", [0, 2])
def test_a_codestream_that_is_cut_off_anywhere_is_an_error(restart: int) -> None:
    codestream = encoded(picture(24, 40), "422", restart=restart)
    for end in range(len(codestream)):
        with pytest.raises(ValueError, match=r"."):
            jpeg.paint(codestream[:end], [(0, 0, 8, 8)], (0, 0, 0))


def test_a_header_that_promises_more_blocks_than_there_are_bits_is_an_error() -> None:
    codestream = encoded(picture(24, 40), "422")
    huge = codestream.replace(b"\xff\xc0\0\x11\x08\0\x18\0\x28", b"\xff\xc0\0\x11\x08\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="cut off"):
        jpeg.paint(huge, [(0, 0, 0xFFFF, 0xFFFF)], (0, 0, 0))


def test_a_second_picture_behind_the_end_is_an_error() -> None:
    codestream = encoded(picture(16, 16), "444")
    assert jpeg.editable(codestream + b"\0")
    assert not jpeg.editable(codestream + codestream)


def test_bits_behind_the_last_painted_block_are_an_error() -> None:
    codestream = encoded(picture(16, 16), "444")
    with pytest.raises(ValueError, match="behind"):
        jpeg.paint(codestream[:-2] + b"hidden" + b"\xff\xd9", [(8, 8, 8, 8)], (0, 0, 0))


@pytest.mark.parametrize("region", [(0, 0, 8, 8), (8, 8, 8, 8)], ids=["first", "last"])
def test_a_byte_of_padding_more_than_needed_is_no_error(region: Rectangle) -> None:
    """A vendor's encoder writes one whenever the data ends with a byte: frame 13 of color3d_jpeg_baseline.dcm."""
    codestream = encoded(picture(16, 16), "444")
    assert_cleaned(codestream[:-2] + b"\xff\0\xff\xd9", [region], subsampled=False)


@pytest.mark.parametrize("change", [(b"\xff\xd1", b"\xff\xd2"), (b"\xff\xd1", b""), (b"\xff\xd1", b"\xff\xd1\xff\xd1")])
def test_a_lost_or_misplaced_restart_marker_is_an_error(change: tuple[bytes, bytes]) -> None:
    codestream = encoded(picture(24, 40), "444", restart=2)
    assert change[0] in codestream
    with pytest.raises(ValueError, match="restart"):
        jpeg.paint(codestream.replace(*change), [(0, 0, 24, 40)], (0, 0, 0))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_codestream_with_wrong_bytes_is_an_error_or_is_edited_and_nothing_else_happens(data: st.DataObject) -> None:
    codestream = bytearray(encoded(picture(24, 40), "420", restart=data.draw(st.sampled_from([0, 2]))))
    for _ in range(data.draw(st.integers(1, 4))):
        codestream[data.draw(st.integers(0, len(codestream) - 1))] = data.draw(st.integers(0, 255))
    try:
        painted = jpeg.paint(bytes(codestream), [(0, 0, 20, 20)], (0, 0, 0))
    except ValueError:
        return
    assert jpeg.editable(painted)
