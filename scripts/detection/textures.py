"""Pictures without text from a seeded generator, and what stands beside anatomy: rulers, wedges, traces.

Pictures are float32, shape (rows, columns), 0 (black) to 1 (white).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Picture = NDArray[np.float32]


def generated(rng: Generator, modality: str, rows: int, columns: int) -> Picture:
    """Return a texture that looks, from afar, like the modality's anatomy."""
    makers: dict[str, Callable[[Generator, int, int], Picture]] = {
        "CT": _ct,
        "MR": _mr,
        "DX": _radiograph,
        "MG": _breast,
        "US": _ultrasound,
        "SC": _screen,
        "XA": _angiogram,
    }
    return np.asarray(np.clip(makers[modality](rng, rows, columns), 0, 1), dtype=np.float32)


def cine(rng: Generator, still: Picture, frames: int) -> NDArray[np.float32]:
    """Let a still beat: each frame a little turned, zoomed and noisy; shape (frames, rows, columns)."""
    rows, columns = still.shape
    moved = []
    for index in range(frames):
        phase = np.sin(2 * np.pi * index / frames)
        warp = cv2.getRotationMatrix2D((columns / 2, rows / 2), 3 * phase, 1 + 0.03 * phase)
        frame = cv2.warpAffine(still, warp, (columns, rows), flags=cv2.INTER_LINEAR)
        moved.append(frame * rng.normal(1, 0.08, still.shape).astype(np.float32))
    return np.asarray(np.clip(np.stack(moved), 0, 1), dtype=np.float32)


def furnish(rng: Generator, frames: NDArray[np.float32]) -> None:
    """Draw a ruler, a grey wedge or a trace into all frames: not text, and to be left alone."""
    rows, columns = frames.shape[1:]
    what = rng.choice(["ruler", "wedge", "trace"])
    column = int(rng.uniform(0.9, 0.97) * columns)
    if what == "ruler":
        for number, row in enumerate(range(rows // 5, rows * 4 // 5, max(6, rows // 50))):
            frames[:, row, column : column + (columns // 60 if number % 5 == 0 else columns // 120)] = 0.9
    elif what == "wedge":
        wedge = np.linspace(1, 0, rows // 3, dtype=np.float32)[:, None]
        frames[:, rows // 4 : rows // 4 + rows // 3, column : column + columns // 60] = wedge
    else:
        x = np.arange(columns // 10, columns * 9 // 10)
        spikes = np.exp(-((x % max(columns // 9, 8) - 6) ** 2) / 6) * rows / 16
        frames[:, (rows * 0.93 - spikes).astype(int), x] = 0.8


def _noise(rng: Generator, rows: int, columns: int, cell: int) -> NDArray[Any]:
    small = rng.random((rows // cell + 3, columns // cell + 3), dtype=np.float32)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_CUBIC))


def _clouds(rng: Generator, rows: int, columns: int) -> NDArray[Any]:
    side = min(rows, columns)
    return np.asarray(sum(_noise(rng, rows, columns, max(2, side // n)) / n for n in (4, 8, 16, 32, 64)) / 0.48)


def _ellipse(rows: int, columns: int, centre: tuple[float, float], axes: tuple[float, float]) -> NDArray[Any]:
    """Return 1 in an ellipse (all in parts of the sides) and 0 outside, with a soft edge."""
    y, x = np.ogrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    distance = np.hypot((y - centre[0]) / axes[0], (x - centre[1]) / axes[1])
    return np.asarray(np.clip((1 - distance) * 30 + 0.5, 0, 1), dtype=np.float32)


def _ct(rng: Generator, rows: int, columns: int) -> Picture:
    body = _ellipse(rows, columns, (0.5, 0.5), tuple(rng.uniform(0.3, 0.46, 2)))
    picture = 0.02 + body * (0.4 + 0.08 * _clouds(rng, rows, columns))
    for _ in range(int(rng.integers(6, 14))):
        organ = _ellipse(rows, columns, tuple(rng.uniform(0.25, 0.75, 2)), tuple(rng.uniform(0.03, 0.13, 2)))
        picture += body * organ * rng.choice([-0.3, -0.1, 0.08, 0.15, 0.5])
    return np.asarray(picture + rng.normal(0, 0.025, picture.shape))


def _mr(rng: Generator, rows: int, columns: int) -> Picture:
    clouds = _clouds(rng, rows, columns)
    head = _ellipse(rows, columns, (0.5, 0.5), (0.45, 0.37))
    brain = _ellipse(rows, columns, (0.5, 0.5), (0.38, 0.3))
    folds = 0.55 + 0.12 * np.sin(clouds * rng.uniform(15, 30)) + 0.1 * _noise(rng, rows, columns, 6)
    tissue = brain * folds + (head - brain) * rng.uniform(0.3, 0.9)
    return np.asarray(tissue * (0.6 + 0.4 * _noise(rng, rows, columns, rows // 2)) + rng.rayleigh(0.015, clouds.shape))


def _radiograph(rng: Generator, rows: int, columns: int) -> Picture:
    y = np.linspace(0, 1, rows)[:, None]
    picture = 0.55 + 0.25 * (_clouds(rng, rows, columns) - 0.5)
    for side in (0.3, 0.7):
        lung = _ellipse(rows, columns, (0.45, side), (0.33, 0.16))
        ribs = np.clip(np.sin(y * rng.uniform(45, 60) + 4 * np.abs(np.linspace(-1, 1, columns))), 0.4, 1)
        picture += lung * (0.22 * ribs - 0.4)
    return np.asarray(picture + rng.normal(0, 0.01, picture.shape))


def _breast(rng: Generator, rows: int, columns: int) -> Picture:
    breast = _ellipse(rows, columns, (0.5, 0.0), (0.44, rng.uniform(0.6, 0.85)))
    clouds = _clouds(rng, rows, columns)
    fibres = np.abs(np.sin(clouds * 18)) ** 6
    picture = breast * (0.25 + 0.5 * clouds**2 + 0.06 * fibres) + rng.normal(0, 0.008, breast.shape)
    return np.asarray(picture[:, ::-1] if rng.random() < 0.5 else picture)  # noqa: PLR2004 - either side


def _ultrasound(rng: Generator, rows: int, columns: int) -> Picture:
    y, x = np.ogrid[0:rows, 0:columns]
    radius, angle = np.hypot(x - columns / 2, y - rows * 0.06), np.arctan2(x - columns / 2, y - rows * 0.06)
    sector = (radius > rows * 0.08) & (radius < rows * 0.85) & (np.abs(angle) < rng.uniform(0.5, 0.75))
    speckle = cv2.GaussianBlur(rng.rayleigh(0.5, (rows, columns)).astype(np.float32), (0, 0), 1.3)
    return np.asarray(sector * speckle * (0.2 + 0.9 * _clouds(rng, rows, columns)) * np.exp(-radius / rows))


def _screen(rng: Generator, rows: int, columns: int) -> Picture:
    picture = np.full((rows, columns), rng.choice([0.0, 0.15, 0.8, 1.0]), np.float32)
    for _ in range(int(rng.integers(2, 7))):
        top, left = (int(rng.uniform(0, 0.8) * side) for side in (rows, columns))
        height, width = (int(rng.uniform(0.1, 0.4) * side) for side in (rows, columns))
        picture[top : top + height, left : left + width] = rng.random()
        cv2.rectangle(picture, (left, top), (left + width, top + height), float(rng.random()), 2)
    return picture


def _angiogram(rng: Generator, rows: int, columns: int) -> Picture:
    picture = np.asarray(0.55 + 0.25 * _clouds(rng, rows, columns), dtype=np.float32)
    vessels = np.zeros((rows, columns), np.float32)
    for _ in range(int(rng.integers(4, 9))):
        steps = rng.normal((0.03, 0), 0.03, (30, 2)).cumsum(axis=0) + np.array((0.05, rng.uniform(0.3, 0.7)))
        points = np.round(steps[:, ::-1] * (columns, rows)).astype(np.int32)
        cv2.polylines(vessels, [points], False, 1.0, int(rng.integers(2, max(4, rows // 60))))  # noqa: FBT003 - open
    return np.asarray(picture - 0.4 * cv2.GaussianBlur(vessels, (0, 0), 1.5) + rng.normal(0, 0.03, picture.shape))
