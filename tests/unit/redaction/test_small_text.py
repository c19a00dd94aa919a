"""Small technical text straight over anatomy is kept; what is as small and not read surely, or not wholly, goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from dicom_node.redaction.boxes import Box
from dicom_node.redaction.decide import SURE, Decision
from dicom_node.redaction.reading import Reading
from tests.unit.redaction.made import image

if TYPE_CHECKING:
    from dicom_node.redaction import PaddleDetector

SHAPE = (256, 256)
TECHNICAL = ["R MLO", "L CC", "FOV 350", "TE 90", "mAs 90", "Supine", "IM 42", "kV 120", "W 400 L 40", "THK 5 mm"]
IDENTITY = ["DOE^JANE", "Lena Hayes", "MRN 4711815", "A8345113", "12.03.1961", "Dr. Novak", "OAKDALE CLINIC"]


def keep_safe_text() -> Decision:
    return Decision("keep-safe-text", image(np.zeros((1, 4, 4), "u1")))


def anatomy(seed: int) -> np.ndarray:
    """Return dark and bright clouds with noise."""
    rng = np.random.default_rng(seed)
    clouds = cv2.resize(rng.random((6, 6), dtype=np.float32), SHAPE, interpolation=cv2.INTER_CUBIC)
    grey = np.clip(40 + 130 * clouds + rng.normal(0, 5, SHAPE), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def burned(text: str, font: str, ink: int) -> tuple[np.ndarray, Box]:
    """Write letters of 7 or 8 pixels; returns the picture and the box around them, padded as found ones are."""
    picture = anatomy(len(text))
    if font == "hershey":
        cv2.putText(picture, text, (40, 100), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (ink,) * 3, 1, cv2.LINE_AA)
    else:
        drawn = Image.fromarray(picture)
        ImageDraw.Draw(drawn).text((40, 90), text, fill=(ink,) * 3, font=ImageFont.load_default_imagefont())
        picture = np.asarray(drawn).copy()
    rows, columns = np.nonzero((picture != anatomy(len(text))).any(axis=-1))
    top, left, height, width = rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1
    return picture, Box(int(top) - 3, int(left) - 5, int(height) + 6, int(width) + 10)


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("font", ["hershey", "bitmap"])
def test_nearly_all_small_technical_text_over_anatomy_is_kept(paddle: PaddleDetector, font: str, ink: int) -> None:
    readings = {text: paddle.read([picture], box) for text in TECHNICAL for picture, box in [burned(text, font, ink)]}
    lost = {text: reading for text, reading in readings.items() if keep_safe_text().goes(reading)}
    assert len(lost) <= len(TECHNICAL) // 10, lost


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("font", ["hershey", "bitmap"])
@pytest.mark.parametrize("text", IDENTITY)
def test_identity_as_small_goes(paddle: PaddleDetector, text: str, font: str, ink: int) -> None:
    picture, box = burned(text, font, ink)
    assert keep_safe_text().goes(paddle.read([picture], box))


@pytest.mark.parametrize("font", ["hershey", "bitmap"])
def test_a_reading_that_ends_long_before_its_box_does_spares_nothing(paddle: PaddleDetector, font: str) -> None:
    picture, box = burned("FOV 350", font, 255)
    longer = box._replace(width=box.width + 2 * box.height)
    earlier = box._replace(column=box.column - 2 * box.height, width=box.width + 2 * box.height)
    assert paddle.read([picture], box).confidence >= SURE
    assert not keep_safe_text().goes(paddle.read([picture], box))
    assert keep_safe_text().goes(paddle.read([picture], longer))
    assert keep_safe_text().goes(paddle.read([picture], earlier))


def test_what_is_read_closer_is_not_sure_where_it_says_less(
    paddle: PaddleDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([Reading("kV 120 DOE", 0.86), Reading("kV 120D", 0.93)])
    monkeypatch.setattr(paddle, "_read_line", lambda _: next(readings))
    picture, box = burned("kV 120", "bitmap", 0)
    assert paddle.read([picture], box).confidence < SURE
