"""Training crops: made from a seed, with their lines where the ink is. The networks themselves need PyTorch."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def crops() -> list[Any]:
    return made(5)


def made(seed: int) -> list[Any]:
    sys.path.insert(0, str(SCRIPTS))
    try:
        backgrounds, crops = import_module("training.backgrounds"), import_module("training.crops")
    finally:
        sys.path.remove(str(SCRIPTS))
    rng = np.random.default_rng(seed)
    pool = backgrounds.Backgrounds(rng, [], 8)
    return [crops.make_crop(rng, pool) for _ in range(40)]


def test_a_seed_makes_the_same_crops(crops: list[Any]) -> None:
    for one, other in zip(crops, made(5), strict=True):
        assert np.array_equal(one.picture, other.picture)
        assert np.array_equal(one.target, other.target)


def test_crops_are_what_the_network_takes(crops: list[Any]) -> None:
    for crop in crops:
        assert (crop.picture.shape, crop.picture.dtype) == ((320, 320, 3), np.dtype(np.uint8))
        assert crop.target.shape == crop.weight.shape == (320, 320)
        assert set(np.unique(crop.target)) <= {0.0, 1.0}
        assert (crop.weight >= 0).all()


def test_some_crops_carry_text_and_some_none(crops: list[Any]) -> None:
    with_text = sum(bool(crop.target.any()) for crop in crops)
    assert 15 <= with_text < len(crops)


def test_lines_lie_where_the_picture_varies(crops: list[Any]) -> None:
    """Ink stands in a line's place: over all crops, the steps there are steeper than elsewhere."""
    inside, outside = [], []
    for crop in crops:
        if crop.target.any():
            steps = np.abs(np.diff(crop.picture.astype(int).max(axis=2), axis=1, prepend=0))
            inside.append(steps[crop.target > 0].mean())
            outside.append(steps[crop.target == 0].mean())
    assert np.median(np.divide(inside, np.maximum(outside, 0.1))) > 2
