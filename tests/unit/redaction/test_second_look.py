"""The second look: what the first did not find is painted after all, and what stays is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.errors import Hold
from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import Box
from dicom_node.redaction.reading import Reading
from tests.unit.redaction.made import FindsBoxes, image, reread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.redaction import PaddleDetector

FRAME = np.random.default_rng(8).integers(0, 200, (1, 48, 64)).astype("u1")
FIRST, LATE = Box(4, 4, 6, 12), Box(30, 40, 6, 12)
NAME = Reading("DOE JANE", 0.99)


class FindsLate(FindsBoxes):
    """Finds :data:`FIRST` at every look, and others from a look on."""

    def __init__(self, *late: Box, reads: Reading = NAME, until: int = 99) -> None:
        super().__init__(FIRST, *late, reads=reads)
        self.looks, self._until = 0, until

    def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
        self.looks += 1
        return super().find(pictures) if 1 < self.looks <= self._until else [FIRST]


def test_text_that_is_found_only_the_second_time_does_not_leave() -> None:
    dataset = image(FRAME)
    redaction = redact(dataset, Policy("all-text", second_look=True), FindsLate(LATE))
    after = reread(dataset).pixel_array
    assert len(np.unique(after[30:36, 40:52])) == 1
    assert {(r.row, r.column) for r in redaction.regions} == {(4, 4), (30, 40)}
    assert redaction.seconds["second_look"] > 0


def test_without_the_second_look_there_is_one_look() -> None:
    detector = FindsLate(LATE)
    redaction = redact(image(FRAME), Policy("all-text"), detector)
    assert detector.looks == 1
    assert "second_look" not in redaction.seconds


def test_text_that_does_not_go_is_held() -> None:
    class Grows(FindsLate):
        def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
            super().find(pictures)
            return [FIRST, Box(12, 4, 3 * self.looks, 12)]

    with pytest.raises(Hold, match="second look"):
        redact(image(FRAME), Policy("all-text", second_look=True), Grows())


def test_what_the_policy_spares_is_spared_at_the_second_look_as_well() -> None:
    dataset = image(FRAME)
    spared = Reading("120 kV", 0.99)
    detector = FindsLate(LATE, reads=spared)
    before = dataset.PixelData
    redact(dataset, Policy("keep-safe-text", second_look=True), detector)
    assert reread(dataset).PixelData == before


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit])
@pytest.mark.parametrize("fill", ["black", "background", "contrast"])
def test_edges_of_paint_do_not_hold_an_instance(paddle: PaddleDetector, syntax: str, fill: str) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (240, 320)).astype("f4")
    anatomy = cv2.GaussianBlur(noise, (0, 0), 8)
    frame = ((anatomy - anatomy.min()) / np.ptp(anatomy) * 200).astype("u1")
    for row, text in ((60, "DOE^JANE 1962"), (180, "ID 8812345")):
        cv2.putText(frame, text, (20, row), cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 2, cv2.LINE_AA)
    dataset = image(frame[None], syntax=syntax)
    redaction = redact(dataset, Policy("all-text", fill=fill, second_look=True), paddle)
    assert len(redaction.regions) >= 2
