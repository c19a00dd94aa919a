"""What a detector takes for text and is none: rulers, grids, traces, wires, clips, cross hairs, bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Patch = NDArray[np.float32]
    Draw = Callable[[Generator, Patch], None]


def clutter(rng: Generator, patch: Patch) -> Patch:
    """Draw one to four such things."""
    drawn = np.ascontiguousarray(patch)
    for _ in range(int(rng.integers(1, 5))):
        _DRAWN[int(rng.integers(len(_DRAWN)))](rng, drawn)
    return drawn


def _value(rng: Generator, patch: Patch) -> tuple[float, ...]:
    value = float(rng.choice([0.0, 1.0, rng.random()], p=(0.2, 0.5, 0.3)))
    return tuple(float(v) for v in value * rng.uniform(0.3, 1, 3)) if patch.ndim == 3 else (value,)  # colour


def _point(rng: Generator, patch: Patch) -> tuple[int, int]:
    return int(rng.integers(patch.shape[1])), int(rng.integers(patch.shape[0]))


def _ruler(rng: Generator, patch: Patch) -> None:
    """Draw a line of ticks, every fifth or tenth of them longer."""
    x, y = _point(rng, patch)
    pitch, length = int(rng.integers(3, 24)), int(rng.integers(2, 9))
    value, thickness = _value(rng, patch), int(rng.choice([1, 1, 2]))
    every = int(rng.choice([5, 10]))
    is_upright = rng.random() < 0.6  # more of them stand at the side
    for number, offset in enumerate(range(0, int(rng.integers(60, 400)), pitch)):
        size = length * (2 if number % every == 0 else 1)
        start = (x, y + offset) if is_upright else (x + offset, y)
        end = (x + size, y + offset) if is_upright else (x + offset, y + size)
        cv2.line(patch, start, end, value, thickness)


def _grid(rng: Generator, patch: Patch) -> None:
    value, pitch = _value(rng, patch), int(rng.integers(8, 60))
    for offset in range(int(rng.integers(pitch)), max(patch.shape), pitch):
        cv2.line(patch, (offset, 0), (offset, patch.shape[0]), value, 1)
        if rng.random() < 0.9:  # nearly all lines cross
            cv2.line(patch, (0, offset), (patch.shape[1], offset), value, 1)


def _trace(rng: Generator, patch: Patch) -> None:
    """Draw an ECG or a Doppler envelope."""
    columns = patch.shape[1]
    x = np.arange(columns)
    period, height = rng.uniform(20, 120), rng.uniform(4, 50)
    if rng.random() < 0.5:  # half
        y = np.exp(-((x % period - period / 3) ** 2) / rng.uniform(2, 20)) - 0.3 * np.exp(
            -((x % period - period / 2.2) ** 2) / 9
        )
    else:
        y = np.abs(np.sin(x * np.pi / period)) ** rng.uniform(0.5, 4) + rng.normal(0, 0.06, columns)
    base = rng.integers(10, patch.shape[0])
    points = np.stack([x, base - height * y], axis=-1).astype(np.int32)
    cv2.polylines(patch, [points], False, _value(rng, patch), int(rng.choice([1, 1, 2])), cv2.LINE_AA)  # noqa: FBT003 - open


def _wire(rng: Generator, patch: Patch) -> None:
    steps = rng.normal(0, rng.uniform(2, 14), (40, 2)).cumsum(axis=0) + _point(rng, patch)
    cv2.polylines(patch, [steps.astype(np.int32)], False, _value(rng, patch), int(rng.integers(1, 5)), cv2.LINE_AA)  # noqa: FBT003 - open


def _mark(rng: Generator, patch: Patch) -> None:
    """Cross hairs, arrows, calipers, circles, boxes, dotted lines."""
    (x, y), size = _point(rng, patch), int(rng.integers(3, 22))
    value, thickness = _value(rng, patch), int(rng.choice([1, 1, 2]))
    kind = int(rng.integers(6))
    if kind == 0:
        cv2.drawMarker(
            patch,
            (x, y),
            value,
            int(rng.choice([cv2.MARKER_CROSS, cv2.MARKER_TILTED_CROSS, cv2.MARKER_STAR])),
            size,
            thickness,
        )
    elif kind == 1:
        cv2.arrowedLine(patch, (x, y), _point(rng, patch), value, thickness)
    elif kind == 2:
        cv2.circle(patch, (x, y), size * 3, value, thickness)
    elif kind == 3:
        cv2.rectangle(patch, (x, y), _point(rng, patch), value, thickness)
    else:
        end = np.array(_point(rng, patch))
        for share in np.linspace(0, 1, int(rng.integers(6, 40))):
            at = (end * share + np.array((x, y)) * (1 - share)).astype(int)
            cv2.circle(patch, (int(at[0]), int(at[1])), int(rng.choice([0, 1, 2])), value, -1)


def _bars(rng: Generator, patch: Patch) -> None:
    """Draw a grey scale wedge, or bars of metal: clips, screws, markers of lead."""
    (x, y), width, height = _point(rng, patch), int(rng.integers(4, 24)), int(rng.integers(20, 200))
    part = patch[y : y + height, x : x + width]
    if not part.size:
        return
    if rng.random() < 0.5:  # half
        ramp = np.linspace(1, 0, part.shape[0], dtype=np.float32)
        steps = int(rng.choice([255, 8, 16]))
        part[:] = (np.rint(ramp * steps) / steps).reshape(-1, *([1] * (part.ndim - 1)))
        return
    for _ in range(int(rng.integers(1, 7))):
        centre = _point(rng, patch)
        angle, length = rng.uniform(0, np.pi), rng.uniform(3, 18)
        end = (int(centre[0] + length * np.cos(angle)), int(centre[1] + length * np.sin(angle)))
        cv2.line(patch, centre, end, _value(rng, patch), int(rng.integers(1, 5)), cv2.LINE_AA)


def _metal(rng: Generator, patch: Patch) -> None:
    """Draw a plate with holes, a screw with its thread, a stent or a coil."""
    centre = np.array(_point(rng, patch), np.float64)
    angle, length, width = rng.uniform(0, np.pi), rng.uniform(20, 160), rng.uniform(3, 18)
    along, across = np.array((np.cos(angle), np.sin(angle))), np.array((-np.sin(angle), np.cos(angle)))
    value, kind = _value(rng, patch), int(rng.integers(3))
    pitch = rng.uniform(2, 14)
    for offset in np.arange(-length / 2, length / 2, pitch):
        one, other = (
            centre + along * offset - across * width / 2,
            centre + along * (offset + pitch * (kind == 1)) + across * width / 2,
        )
        ends = [tuple(int(v) for v in point) for point in (one, other)]
        if kind == 0:
            middle = centre + along * offset
            cv2.circle(patch, (int(middle[0]), int(middle[1])), max(1, int(width / 3)), value, int(rng.choice([1, -1])))
        else:
            cv2.line(patch, *ends, value, 1, cv2.LINE_AA)
    if rng.random() < 0.6:  # most have a body
        ends = [tuple(int(v) for v in centre + along * offset) for offset in (-length / 2, length / 2)]
        cv2.line(patch, *ends, _value(rng, patch), max(1, int(width * rng.uniform(0.2, 1))), cv2.LINE_AA)


def _sector(rng: Generator, patch: Patch) -> None:
    """Draw the edge of an ultrasound sector, or of a collimated field: black on one side."""
    points = np.array([_point(rng, patch) for _ in range(3)], np.int32)
    cv2.fillConvexPoly(patch, points, (0.0,) * (3 if patch.ndim == 3 else 1))  # colour


_ONCE = (_grid, _wire, _bars, _sector)
_OFTEN = (_ruler, _trace, _mark, _mark, _metal)
_DRAWN: tuple[Draw, ...] = (*_ONCE, *_OFTEN, *_OFTEN)
