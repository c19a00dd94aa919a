"""Every frame is looked at, and what is found goes from the frames in which it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.redaction import Policy, redact
from dicom_node.redaction.boxes import unknown
from tests.unit.redaction.made import TEXT, FindsContrast, image, reread, with_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dicom_node.model import Region
    from dicom_node.redaction.boxes import Box
    from dicom_node.redaction.reading import Reading

SHAPE = (32, 48)


def covered(regions: tuple[Region, ...]) -> set[int]:
    return {
        frame
        for region in regions
        for frame in range(region.first_frame, region.last_frame + 1)
        if region.row <= TEXT.row and region.row + region.height >= TEXT.row + TEXT.height
    }


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
@pytest.mark.parametrize("ink", [40, 200])
def test_text_in_one_frame_of_many_is_found(count: int, ink: int) -> None:
    for index in {0, count // 2, count - 1}:
        stack = np.full((count, *SHAPE), 120, "u1")
        stack[index] = with_text(SHAPE, 120, ink, "u1")
        dataset = image(stack)
        assert index in covered(redact(dataset, Policy("all-text"), FindsContrast()).regions)
        painted = reread(dataset).pixel_array.reshape(stack.shape)[index]
        assert np.ptp(painted[TEXT.row : TEXT.row + TEXT.height, TEXT.column : TEXT.column + TEXT.width]) == 0


@pytest.mark.parametrize(("count", "groups"), [(1, [False]), (8, [True]), (9, [True, False])])
def test_a_detector_is_told_which_pictures_show_several_frames(count: int, groups: list[bool]) -> None:
    class Told(FindsContrast):
        def __init__(self) -> None:
            super().__init__()
            self.moving: list[bool] = []

        def find(self, pictures: Sequence[NDArray[np.uint8]], **how: bool) -> list[Box]:
            self.moving.append(how["moving"])
            return super().find(pictures)

    detector = Told()
    redact(image(np.stack([with_text(SHAPE, 20, 250, "u1")] * count)), Policy("all-text"), detector)
    assert detector.moving == groups


def test_text_that_only_single_frames_show_goes_and_is_read_there() -> None:
    class SeesMoments(FindsContrast):
        read_in: NDArray[np.uint8] | None = None

        def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
            return super().find(pictures[:0])

        def glimpse(self, picture: NDArray[np.uint8], known: Sequence[Box]) -> list[Box]:
            return unknown(super().find([picture]), known)

        def read(self, pictures: Sequence[NDArray[np.uint8]], box: Box) -> Reading:
            (self.read_in,) = pictures
            return super().read(pictures, box)

    stack = np.full((8, *SHAPE), 120, "u1")
    stack[5] = with_text(SHAPE, 120, 200, "u1")
    detector = SeesMoments()
    assert 5 in covered(redact(image(stack), Policy("keep-safe-text"), detector).regions)
    assert detector.read_in is not None
    assert np.ptp(detector.read_in) > 0


def test_frames_of_another_kind_do_not_hide_text() -> None:
    """A white and a black frame would be the maximum and minimum of their group, and dark text makes up for bright."""
    white, black = np.full(SHAPE, 255, "u1"), np.zeros(SHAPE, "u1")
    stack = np.stack([white, black, with_text(SHAPE, 120, 140, "u1"), with_text(SHAPE, 120, 100, "u1")] * 2)
    stack[:, -1, -1] = 128
    regions = redact(image(stack), Policy("all-text"), FindsContrast()).regions
    assert {2, 3, 6, 7} <= covered(regions)


def test_frames_without_the_text_keep_their_pixels() -> None:
    noise = np.random.default_rng(5).integers(110, 130, (24, *SHAPE)).astype("u1")
    noise[:, -1, :2] = (0, 255)
    stack = noise.copy()
    stack[8:16, :-1] = with_text(SHAPE, 120, 250, "u1")[:-1]
    dataset = image(stack)
    redact(dataset, Policy("all-text"), Text())
    after = reread(dataset).pixel_array
    assert np.array_equal(after[:8], noise[:8])
    assert np.array_equal(after[16:], noise[16:])
    assert not np.array_equal(after[8:16], stack[8:16])


class Text(FindsContrast):
    """Sees text, neither noise nor the last row."""

    visible = 100

    def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
        return super().find([picture[:-1] for picture in pictures])


def test_text_that_the_detector_misses_in_a_group_goes_there_as_well() -> None:
    class SeesTheFirst(Text):
        calls = 0

        def find(self, pictures: Sequence[NDArray[np.uint8]], **_: bool) -> list[Box]:
            self.calls += 1
            return super().find(pictures) if self.calls == 1 else []

    dataset = image(np.stack([with_text(SHAPE, 20, 250, "u1")] * 24))
    regions = redact(dataset, Policy("all-text"), SeesTheFirst()).regions
    assert covered(regions) == set(range(24))
