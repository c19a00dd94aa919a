"""Where the detector looks, and what it makes of probabilities and of readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dicom_node.redaction.boxes import Box, Marking, boxes_in, contains, tiles, without_contained
from dicom_node.redaction.reading import Reading, surest

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


def test_boxes_inside_others_are_dropped_and_others_kept() -> None:
    outer, inner, beside = Box(0, 0, 10, 10), Box(2, 2, 3, 3), Box(8, 8, 5, 5)
    assert without_contained([inner, outer, beside, outer]) == [outer, beside]


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
