"""What a status means for a delivery, and what becomes of a file whose syntax is not accepted; without a network."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node.errors import Hold
from dicom_node.storage_scu import DISPOSITIONS
from dicom_node.storage_scu_native import as_native


def test_every_status_has_one_disposition() -> None:
    ranges = sorted((first, last) for first, last, _ in DISPOSITIONS)
    assert all(first <= last for first, last in ranges)
    assert all(last < following for (_, last), (following, _) in pairwise(ranges))


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "emri_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "GDCMJ2K_TextGBR.dcm",
        "SC_rgb_rle_2frame.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "JPEG-LL.dcm",
        "image_dfl.dcm",
        "CT_small.dcm",
        "MR_small_implicit.dcm",
    ],
)
def test_native_pixels_are_those_of_the_file_and_the_uid_stays(name: str) -> None:
    source = Path(str(get_testdata_file(name)))
    native, original = as_native(source), dcmread(source)
    assert native.SOPInstanceUID == original.SOPInstanceUID
    assert native.get("LossyImageCompression") == original.get("LossyImageCompression")
    assert not native.file_meta.TransferSyntaxUID.is_compressed
    if "PixelData" in original:
        np.testing.assert_array_equal(native.pixel_array, original.pixel_array)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"])
def test_colour_of_lossy_jpeg_is_not_decompressed(name: str) -> None:
    with pytest.raises(Hold, match="colour of lossy JPEG"):
        as_native(Path(str(get_testdata_file(name))))


def test_the_byte_order_is_not_changed() -> None:
    with pytest.raises(Hold, match="byte order"):
        as_native(Path(str(get_testdata_file("MR_small_bigendian.dcm"))))


def test_what_would_not_fit_into_memory_is_held() -> None:
    with pytest.raises(Hold, match="too large"):
        as_native(Path(str(get_testdata_file("MR_small_RLE.dcm"))), maximum_bytes=1000)


def test_pixels_that_cannot_be_decoded_are_held_and_the_reason_quotes_nothing(tmp_path: Path) -> None:
    dataset = dcmread(str(get_testdata_file("MR_small_RLE.dcm")))
    dataset.PixelData = dataset.PixelData[:40] + b"\xff" * 8 + dataset.PixelData[48:600]
    path = tmp_path / "x.dcm"
    dataset.save_as(path)
    with pytest.raises(Hold, match="cannot be decompressed") as caught:
        as_native(path)
    assert str(dataset.SOPInstanceUID) not in str(caught.value)
