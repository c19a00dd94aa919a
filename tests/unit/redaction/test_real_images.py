"""The real detector on real images: what a person reads there of identity is painted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import deid_data
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import Box

if TYPE_CHECKING:
    from dicom_node.model import Redaction
    from dicom_node.redaction import PaddleDetector

ULTRASOUNDS = Path(str(deid_data.__file__)).parent / "data" / "ultrasounds"

# Where the strokes stand, looked up by eye.
IDENTITY = {
    "RGB_IMAGE.dcm": {
        "name": Box(6, 5, 20, 222),
        "id": Box(36, 5, 16, 130),
        "time and date": Box(8, 504, 17, 212),
        "accession": Box(8, 775, 16, 107),
        "institution": Box(36, 505, 16, 263),
    },
    "GREYSCALE_IMAGE.dcm": {
        "name and id": Box(5, 9, 16, 272),
        "birth date, sex, institution": Box(5, 392, 16, 292),
        "date and time": Box(5, 824, 16, 184),
    },
    "examples_palette.dcm": {
        "id": Box(36, 96, 14, 168),
        "institution": Box(36, 328, 14, 180),
        "date": Box(9, 670, 14, 88),
        "time": Box(36, 670, 14, 110),
    },
    "examples_rgb_color.dcm": {
        "institution": Box(13, 10, 6, 76),
        "id": Box(21, 10, 6, 36),
        "second id": Box(37, 10, 6, 34),
    },
}


def redacted(
    name: str, policy: str, paddle: PaddleDetector
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.bool_]], Redaction]:
    path = ULTRASOUNDS / name if (ULTRASOUNDS / name).exists() else get_testdata_file(name, download=False)
    dataset = dcmread(str(path))
    painted = np.zeros((dataset.Rows, dataset.Columns), bool)
    redaction = redact(dataset, Policy(policy), paddle)
    for region in redaction.regions:
        painted[region.row : region.row + region.height, region.column : region.column + region.width] = True
    return painted, redaction


@pytest.mark.parametrize("name", list(IDENTITY))
def test_identity_that_a_person_can_read_is_painted(name: str, paddle: PaddleDetector) -> None:
    painted, _ = redacted(name, "keep-safe-text", paddle)
    bare = {
        what: 1 - painted[box.row : box.row + box.height, box.column : box.column + box.width].mean()
        for what, box in IDENTITY[name].items()
    }
    assert {what: share for what, share in bare.items() if share} == {}
    assert painted.mean() < 0.2


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_anatomy_is_no_text(name: str, paddle: PaddleDetector) -> None:
    assert redacted(name, "all-text", paddle)[1].regions == ()
