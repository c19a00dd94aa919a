"""The trained detectors, in both profiles, on what they were trained for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from dicom_node.redaction.boxes import Box, clipped
from dicom_node.redaction.gate import CELL, Gate
from dicom_node.redaction.pp_ocr import FAST, MODELS, PROFILES, THOROUGH, PaddleDetector, Profile
from dicom_node.redaction.reading import Reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (512, 512)
LINE = "DOE^JANE Q  4711-0815"


@pytest.fixture(scope="module", params=list(PROFILES.values()), ids=list(PROFILES))
def detector(request: pytest.FixtureRequest) -> PaddleDetector:
    profile: Profile = request.param
    return PaddleDetector(profile)


def anatomy(seed: int = 1) -> np.ndarray:
    """Return mid-grey clouds with noise: what small letters sink in."""
    rng = np.random.default_rng(seed)
    clouds = cv2.resize(rng.random((9, 9), dtype=np.float32), SHAPE, interpolation=cv2.INTER_CUBIC)
    grey = np.clip(60 + 110 * clouds + rng.normal(0, 5, SHAPE), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def written(picture: np.ndarray, ink: int, scale: float, thickness: int = 1) -> Box:
    (width, height), base_line = cv2.getTextSize(LINE, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    cv2.putText(picture, LINE, (60, 200), cv2.FONT_HERSHEY_SIMPLEX, scale, (ink,) * 3, thickness, cv2.LINE_AA)
    return clipped(Box(200 - height, 60, height + base_line, width), *picture.shape[:2])


def covered(boxes: list[Box], text: Box) -> float:
    painted = np.zeros(SHAPE, bool)
    for box in boxes:
        painted[box.row : box.row + box.height, box.column : box.column + box.width] = True
    return float(painted[text.row : text.row + text.height, text.column : text.column + text.width].mean())


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("scale", [0.35, 0.5, 1.0, 2.0])
def test_a_line_of_any_size_is_covered_over_anatomy(detector: PaddleDetector, ink: int, scale: float) -> None:
    picture = anatomy()
    text = written(picture, ink, scale, thickness=max(1, round(scale)))
    assert covered(detector.find([picture]), text) >= 0.9


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_line_is_covered(detector: PaddleDetector, turns: int) -> None:
    picture = anatomy()
    text = written(picture, 255, 0.5)
    turned = detector.find([np.ascontiguousarray(np.rot90(picture, turns))])
    where = np.zeros(SHAPE, bool)
    for box in turned:
        where[box.row : box.row + box.height, box.column : box.column + box.width] = True
    back = np.rot90(where, -turns)
    assert back[text.row : text.row + text.height, text.column : text.column + text.width].mean() >= 0.9


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_anatomy_alone_is_not_painted(detector: PaddleDetector, seed: int) -> None:
    assert detector.find([anatomy(seed)]) == []


def test_a_picture_of_one_colour_has_no_text(detector: PaddleDetector) -> None:
    assert detector.find([np.full((*SHAPE, 3), 77, np.uint8)]) == []


def loop(frames: int = 8) -> np.ndarray:
    """Return frames of moving noise over still anatomy."""
    noise = np.random.default_rng(2).normal(0, 25, (frames, *SHAPE, 1))
    return np.clip(anatomy().astype(np.float32) + noise, 0, 255).astype(np.uint8)


def test_text_of_one_frame_that_sinks_between_the_others_is_found_there(detector: PaddleDetector) -> None:
    frames = loop()
    text = written(frames[3], 60, 0.8, thickness=2)
    together = np.stack([frames.max(axis=0)[..., 0], frames.mean(axis=0)[..., 0], frames.min(axis=0)[..., 0]], axis=-1)
    known = detector.find([together.astype(np.uint8)])
    assert covered(known, text) < 0.5
    assert covered(detector.glimpse(frames[3], known), text) >= 0.9


def test_a_glimpse_gives_nothing_that_is_known(detector: PaddleDetector) -> None:
    picture = anatomy()
    written(picture, 255, 0.8)
    assert detector.glimpse(picture, detector.find([picture])) == []


def test_fast_looks_with_another_network_and_only_where_the_gate_is_open() -> None:
    assert FAST.network != THOROUGH.network
    assert FAST.everywhere == ()
    assert THOROUGH.everywhere == (1.0,)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (500, 300), (333, 1), (1200, 900)])
def test_the_gate_names_places_that_lie_in_the_picture_and_do_not_overlap(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(4).integers(0, 256, (*shape, 3)).astype(np.uint8)
    counted = np.zeros(shape, int)
    for area in PaddleDetector(FAST).gate.areas(picture):
        assert clipped(area, *shape) == area
        counted[area.row : area.row + area.height, area.column : area.column + area.width] += 1
    assert counted.max() <= 1


def test_the_gate_opens_at_text_and_not_everywhere() -> None:
    picture = anatomy()
    text = written(picture, 255, 0.4)
    areas = PaddleDetector(FAST).gate.areas(picture)
    assert covered(areas, text) == 1.0
    assert sum(area.height * area.width for area in areas) < SHAPE[0] * SHAPE[1] / 2
    assert all(area.row % CELL == 0 and area.column % CELL == 0 for area in areas)


class _Says:
    """In the place of a network: one that gives these probabilities, whatever it is shown."""

    def __init__(self, cells: NDArray[np.float32]) -> None:
        self._cells = cells

    def run(self, *_: object) -> list[NDArray[np.float32]]:
        return [self._cells[None, None].copy()]


def test_a_place_opens_as_a_whole_where_the_gate_is_sure_of_a_part_of_it() -> None:
    cells = np.zeros((20, 30), np.float32)
    cells[3, 4:10] = cells[12, 4:10] = 0.15
    cells[3, 8] = 0.5
    (area,) = Gate(_Says(cells)).areas(np.zeros((160, 240, 3), np.uint8))
    assert area == Box(2 * CELL, 2 * CELL, 3 * CELL, 10 * CELL)


@pytest.mark.parametrize(
    ("reading", "is_text"),
    [
        (Reading("P", 0.9), True),
        (Reading("P", 0.8), False),
        (Reading("x3", 0.7), True),
        (Reading("x3", 0.5), False),
        (Reading("*", 0.9), False),
    ],
)
def test_what_is_doubtful_in_several_frames_is_text_where_letters_are_read(reading: Reading, is_text: bool) -> None:  # noqa: FBT001
    class Reads(PaddleDetector):
        def read(self, *_: object) -> Reading:
            return reading

    detector = Reads(THOROUGH)
    probability = np.zeros(SHAPE, np.float32)
    probability[100:120, 100:200] = 0.7
    detector._find = _Says(probability)  # noqa: SLF001
    assert bool(detector.find([anatomy()], moving=True)) is is_text
    assert detector.find([anatomy()])


def test_every_network_is_in_the_package_and_small() -> None:
    models = [model for model in MODELS.iterdir() if model.name.endswith(".onnx")]
    assert {model.name for model in models} == {"text-small.onnx", "text-tiny.onnx", "gate.onnx"}
    assert sum(len(model.read_bytes()) for model in models) < 13_000_000
