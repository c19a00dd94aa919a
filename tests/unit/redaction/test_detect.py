"""Where the detector looks, and what it makes of probabilities and of readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.redaction.boxes import Box, Marking, boxes_in, contains, cut_back, joined, tiles
from dicom_node.redaction.reading import CLOSE, Reading, longest, surest, turns

if TYPE_CHECKING:
    from dicom_node.redaction.pp_ocr import PaddleDetector


@pytest.mark.parametrize(
    ("rows", "columns"), [(1, 1), (1, 5000), (1100, 1100), (1101, 300), (4000, 3001), (641, 2000), (65535, 2)]
)
def test_every_pixel_is_in_a_tile(rows: int, columns: int) -> None:
    seen = np.zeros((rows, columns), bool)
    for tile in tiles(Box(0, 0, rows, columns)):
        assert contains(Box(0, 0, rows, columns), tile)
        seen[tile.row : tile.row + tile.height, tile.column : tile.column + tile.width] = True
    assert seen.all()


def test_a_line_becomes_a_box_that_is_larger() -> None:
    probability = np.zeros((100, 200), np.float32)
    probability[40:46, 50:120] = 0.9
    (box,) = boxes_in(probability, Marking())
    assert contains(box, Box(38, 47, 10, 76))


@pytest.mark.parametrize("turned", [False, True])
def test_a_doubtful_mark_is_text_where_it_stands_in_the_row_of_a_line_and_nowhere_else(turned: bool) -> None:  # noqa: FBT001
    probability = np.zeros((100, 200), np.float32)
    probability[40:46, 50:120] = 0.9
    probability[40:46, 150:156] = 0.45
    probability[70:76, 50:56] = 0.45
    line, mark = boxes_in(probability.T if turned else probability, Marking())
    first, last = (box.row if turned else box.column for box in (line, mark))
    assert (first < 50, 140 < last < 150) == (True, True)


@pytest.mark.parametrize(("mean", "is_read", "is_text"), [(0.7, False, False), (0.7, True, True), (0.8, False, True)])
def test_a_doubtful_line_is_text_where_it_can_be_read(mean: float, is_read: bool, is_text: bool) -> None:  # noqa: FBT001
    probability = np.zeros((100, 200), np.float32)
    probability[40:46, 50:120] = mean
    asked: list[Box] = []

    def ask(box: Box) -> bool:
        asked.append(box)
        return is_read

    found = list(boxes_in(probability, Marking(doubtful=0.75), 2.0, ask))
    assert (bool(found), bool(asked)) == (is_text, mean < 0.75)
    assert all(contains(box, Box(20, 25, 3, 35)) for box in asked)
    assert list(boxes_in(probability, Marking(doubtful=0.75), 2.0))


def test_boxes_inside_others_are_dropped_and_others_kept() -> None:
    outer, inner, beside = Box(0, 0, 10, 10), Box(2, 2, 3, 3), Box(8, 8, 5, 5)
    assert joined([inner, outer, beside, outer]) == [outer, beside]


def test_boxes_that_stand_for_the_same_become_one_around_both() -> None:
    assert joined([Box(10, 10, 20, 100), Box(11, 12, 20, 102)]) == [Box(10, 10, 21, 104)]


def test_a_box_leaves_a_line_that_stays_but_never_gives_up_more_than_its_padding() -> None:
    box = Box(100, 50, 26, 200)
    assert cut_back(box, [Box(122, 50, 26, 80)]) == Box(100, 50, 24, 200)
    assert cut_back(box, [Box(78, 50, 26, 80)]) == Box(102, 50, 24, 200)
    assert cut_back(box, [Box(114, 50, 26, 80)]) == Box(100, 50, 23, 200)
    assert cut_back(box, [Box(122, 300, 26, 80), Box(110, 50, 26, 80)]) == box


def test_a_line_that_runs_down_or_up_is_read_both_ways_and_the_longer_reading_counts() -> None:
    picture = np.arange(40 * 10 * 3, dtype=np.uint8).reshape(40, 10, 3)
    down, up = turns(picture, Box(0, 0, 40, 10))
    assert np.array_equal(np.rot90(down, 2), up)
    assert len(turns(picture, Box(0, 0, 10, 10))) == 1
    assert longest([Reading("石", 0.99), Reading("DOE JANE", 0.9)]).text == "DOE JANE"


def test_padding_is_left_out_of_what_is_read_but_no_letter_where_the_picture_ends() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    assert [line.shape for line in turns(picture, Box(10, 10, 20, 60))] == [(16, 54, 3)]
    assert [line.shape for line in turns(picture, Box(10, 10, 20, 60), CLOSE)] == [(14, 54, 3)]
    assert [line.shape for line in turns(picture, Box(0, 0, 20, 60))] == [(18, 57, 3)]
    assert [line.shape for line in turns(picture, Box(80, 140, 20, 60))] == [(18, 57, 3)]
    assert [line.shape for line in turns(picture, Box(0, 10, 60, 20))] == [(16, 57, 3)] * 2


def test_views_that_read_different_things_are_not_sure() -> None:
    assert surest([Reading("MI 1.2", 0.99), Reading("DOE JANE", 0.9)]).confidence == 0
    assert surest([Reading("MI 1.2", 0.99), Reading("MI 1.2", 0.7), Reading("", 0.0), Reading("~", 0.2)]) == Reading(
        "MI 1.2", 0.99
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 800), (800, 1), (3, 5), (1, 3000)])
def test_slivers_are_looked_at_without_growing(paddle: PaddleDetector, shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for box in paddle.find([picture]):
        assert contains(Box(0, 0, *shape), box)
