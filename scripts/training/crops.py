"""Training crops: text in all the ways it is burned in, over all that lies under it, and where its lines are.

A crop is what the network sees of a picture: three channels that are windows of a grey picture or the samples of a
colour, at the size of the pixels or enlarged. Its target is each line of text, a fifth of its height narrower above
and below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from .clutter import clutter
from .lettering import Writer, lines

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from .backgrounds import Backgrounds, Patch

SIDE = 320
"""Rows and columns of a crop, in pixels: a multiple of the network's stride."""

SHRINK = 0.2
"""Of a line's height, above and below: what a component has to be grown by to cover its line."""

SUNK = 0.35
"""Part of a line's ink that has to be seen; a line that shows less is neither text nor ground."""

_SEEN = 0.04
_JOINED = 1.0
_SMALLEST, _LARGEST = 4.5, 80.0
_SUB_PIXEL_BITS = 4


@dataclass(slots=True)
class Crop:
    """What the network sees (uint8, SIDE x SIDE x 3), what it shall say (0 or 1) and how much that counts (float32)."""

    picture: NDArray[np.uint8]
    target: NDArray[np.float32]
    weight: NDArray[np.float32]


@dataclass(slots=True)
class _Line:
    """Corners of a piece of text, (4, 2) as (x, y) in pixels; its height; whether enough of it is seen."""

    corners: NDArray[np.float32]
    height: float
    is_seen: bool


def make_crop(rng: Generator, backgrounds: Backgrounds) -> Crop:
    """Make one crop: some carry no text, and some of these what may be taken for it."""
    scale = float(rng.choice([1.0, 2.0, rng.uniform(1.0, 2.2)], p=(0.45, 0.35, 0.2)))
    side = round(SIDE / scale)
    patch = backgrounds.patch(rng, side)
    if patch.ndim == 2 and rng.random() < 0.15:  # text in colour on grey
        patch = np.repeat(patch[..., None], 3, axis=-1)
    kind = rng.random()
    if kind < 0.35:  # with and without text
        patch = clutter(rng, patch)
    written = _written(rng, patch) if kind > 0.17 else []  # a sixth has none
    picture = _seen(rng, patch)
    if scale > 1:
        picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return Crop(picture, *_targets(written, SIDE / side))


def _written(rng: Generator, patch: Patch) -> list[_Line]:
    written: list[_Line] = []
    taken = np.zeros(patch.shape[:2], np.bool_)
    for _ in range(int(rng.choice([1, 2, 3, 5], p=(0.35, 0.3, 0.2, 0.15)))):
        block = _block(rng, patch.shape[0])
        if block is not None:
            written += _burned(rng, patch, taken, *block)
    return written


def _block(rng: Generator, side: int) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]] | None:
    """Write lines below each other; return their ink, and the corners of each piece of text in it."""
    largest = min(_LARGEST, side / 3)
    low = _SMALLEST if rng.random() < 0.75 else 14.0  # most are small, as the hard ones are
    high = 14.0 if low == _SMALLEST else largest
    writer = Writer(rng, float(np.exp(rng.uniform(np.log(low), np.log(max(high, low + 1))))))
    inks = [ink for ink in (_spaced(rng, writer, text) for text in lines(rng)) if ink[0].size]
    if not inks:
        return None
    height = max(ink.shape[0] for ink, _ in inks)
    gap = max(1, round(height * float(rng.uniform(0.12, 0.9))))
    width = max(ink.shape[1] for ink, _ in inks)
    align = float(rng.choice([0.0, 1.0, 0.5], p=(0.75, 0.15, 0.1)))
    page = np.zeros((len(inks) * (height + gap), width), np.float32)
    pieces = []
    for number, (ink, spans) in enumerate(inks):
        top, left = number * (height + gap) + height - ink.shape[0], round(align * (width - ink.shape[1]))
        page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
        for first, last in spans:
            box = (left + first, top, left + last, top + ink.shape[0])
            pieces.append(
                np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])], np.float32)
            )
    return _turned(rng, page, pieces)


def _spaced(rng: Generator, writer: Writer, text: str) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """Write a line, sometimes in columns; return its ink, and where pieces of text without a wide gap begin and end."""
    parts = text.split(" ")
    cuts = [i for i in range(1, len(parts)) if rng.random() < 0.12]  # a tab now and then
    groups = [" ".join(parts[a:b]) for a, b in zip([0, *cuts], [*cuts, len(parts)], strict=True)]
    inks = [writer.ink(group) for group in groups if group]
    inks = [ink for ink in inks if ink.size]
    if not inks:
        return np.zeros((0, 0), np.float32), []
    height = max(ink.shape[0] for ink in inks)
    spans, column, line = [], 0, []
    for ink in inks:
        space = round(height * float(rng.uniform(1.3, 5))) if line else 0
        line += [np.zeros((height, space), np.float32), np.pad(ink, ((height - ink.shape[0], 0), (0, 0)))]
        spans.append((column + space, column + space + ink.shape[1]))
        column += space + ink.shape[1]
    return np.concatenate(line, axis=1), spans


def _turned(
    rng: Generator, page: NDArray[np.float32], pieces: list[NDArray[np.float32]]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    if rng.random() < 0.64:  # two thirds are upright
        return page, pieces
    quarters = int(rng.choice([1, 3, 2, 0], p=(0.32, 0.28, 0.08, 0.32)))
    if quarters:
        return _quarter_turned(page, pieces, quarters)
    degrees = float(rng.uniform(-45, 45))
    rows, columns = page.shape
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = int(rows * sine + columns * cosine) + 2, int(rows * cosine + columns * sine) + 2
    turn[:, 2] += (size[0] - columns) / 2, (size[1] - rows) / 2
    moved = [np.asarray(piece @ turn[:, :2].T + turn[:, 2], np.float32) for piece in pieces]
    return np.asarray(cv2.warpAffine(page, turn, size, flags=cv2.INTER_LINEAR)), moved


def _quarter_turned(
    page: NDArray[np.float32], pieces: list[NDArray[np.float32]], quarters: int
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Turn pixel by pixel, as devices do: what is resampled is blurred, and letters of 7 pixels look otherwise."""
    for _ in range(quarters):
        columns = page.shape[1]
        pieces = [np.stack([piece[:, 1], columns - piece[:, 0]], axis=1) for piece in pieces]
        page = np.rot90(page)
    return np.ascontiguousarray(page), pieces


def _burned(
    rng: Generator,
    patch: Patch,
    taken: NDArray[np.bool_],
    page: NDArray[np.float32],
    pieces: list[NDArray[np.float32]],
) -> list[_Line]:
    """Write a block somewhere, also across the border, if nothing is there; return its lines."""
    side = patch.shape[0]
    spare = [side - length for length in page.shape]
    goes_beyond = rng.random(2) < 0.3  # a third
    beyond = [round(0.4 * min(length, side)) * int(goes) for length, goes in zip(page.shape, goes_beyond, strict=True)]
    row, column = (int(rng.integers(min(0, s) - b, max(0, s) + b + 1)) for s, b in zip(spare, beyond, strict=True))
    shown = (
        slice(max(0, row), min(side, row + page.shape[0])),
        slice(max(0, column), min(side, column + page.shape[1])),
    )
    ink = page[max(0, -row) : side - row, max(0, -column) : side - column]
    if not ink.any() or taken[shown].any():
        return []
    taken[shown] = True
    before = _luma(patch[shown]).copy()
    _ink(rng, patch, shown, ink)
    full, seen = np.zeros((2, side, side), np.float32)
    full[shown], seen[shown] = ink, np.where(_stands_out(patch[shown], before, ink), ink, 0)
    return [_line(piece + np.array((column, row), np.float32), full, seen) for piece in pieces]


def _stands_out(after: Patch, before: NDArray[np.float32], ink: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where ink differs from what is around it, as it stands in the picture."""
    luma = _luma(after)
    ground = cv2.blur(before, (5, 5))
    return np.asarray((np.abs(luma - ground) > _SEEN) & (ink > 0.3))  # inked


def _line(corners: NDArray[np.float32], full: NDArray[np.float32], seen: NDArray[np.float32]) -> _Line:
    mask = np.zeros(full.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(corners).astype(np.int32), 1)
    inside = mask.astype(bool)
    inked = float((full[inside] > 0.3).sum())  # inked
    height = float(np.linalg.norm(corners[3] - corners[0]))
    return _Line(corners, height, inked > 0 and float((seen[inside] > 0).sum()) >= SUNK * inked)


def _luma(samples: Patch) -> NDArray[np.float32]:
    return samples if samples.ndim == 2 else samples.mean(axis=-1)  # a grey picture


def _ink(rng: Generator, patch: Patch, shown: tuple[slice, slice], ink: NDArray[np.float32]) -> None:
    """Blend ink in: black or white, or dim; bare, outlined, shadowed or on a box, which may be see-through."""
    ground = patch[shown]
    mean = float(ground.mean())
    kind = rng.random()
    if kind < 0.4:
        value = 0.0
    elif kind < 0.75:
        value = 1.0
    else:
        strength = float(np.exp(rng.uniform(np.log(0.07), np.log(0.8))))
        brighter = rng.random() < 0.6 if 0.2 < mean < 0.8 else mean < 0.5
        value = float(np.clip(mean + strength if brighter else mean - strength, 0, 1))
    colour: Any = value
    if ground.ndim == 3 and rng.random() < 0.6:  # in a colour
        colour = np.clip(value * rng.uniform(0.2, 1.2, 3), 0, 1).astype(np.float32)
    cover = ink if ground.ndim == 2 else ink[..., None]  # a grey picture
    dressing = rng.random()
    if dressing < 0.12 or abs(value - mean) < 0.05:  # a box, always where nothing could be seen
        opacity = float(rng.choice([1.0, rng.uniform(0.4, 1)]))
        ground = ground * (1 - opacity) + opacity * float(np.clip(rng.choice([1 - round(value), rng.random()]), 0, 1))
    elif dressing < 0.22:  # an outline or a shadow
        wide = cv2.dilate(np.roll(ink, 1, (0, 1)) if rng.random() < 0.5 else ink, np.ones((3, 3), np.uint8))
        wide = wide if ground.ndim == 2 else wide[..., None]  # a grey picture
        ground = ground * (1 - wide) + (1 - round(value)) * wide
    opacity = float(rng.choice([1.0, rng.uniform(0.5, 1)], p=(0.85, 0.15)))
    patch[shown] = ground * (1 - opacity * cover) + opacity * cover * colour


def _seen(rng: Generator, patch: Patch) -> NDArray[np.uint8]:
    """Turn a patch into the three channels of a view: windows of a grey picture, or the samples of a colour."""
    patch = _worn(rng, patch)
    if patch.ndim == 3:  # colour
        shown = patch ** float(rng.choice([1.0, 0.4], p=(0.7, 0.3)))
    elif rng.random() < 0.6:  # as grey pictures are looked at: a window, the full range, their mean
        low, high = rng.uniform(-0.1, 0.3), rng.uniform(0.5, 1.1)
        window = np.clip((patch - low) / (high - low), 0, 1)
        shown = np.stack([window, patch, (window + patch) / 2], axis=-1)
    elif rng.random() < 0.25:  # maximum, mean and minimum of a loop
        spread = np.abs(rng.normal(0, 0.05, patch.shape)).astype(np.float32)
        shown = np.stack([patch + spread, patch, patch - spread], axis=-1)
    else:
        shown = np.repeat(patch[..., None] ** float(rng.choice([1.0, 0.4], p=(0.85, 0.15))), 3, axis=-1)
    return np.asarray(np.rint(np.clip(shown, 0, 1) * 255), dtype=np.uint8)


def _worn(rng: Generator, patch: Patch) -> Patch:
    """Let some crops have been inverted, resampled, posterised or compressed after they were written on."""
    kind = rng.random()
    if kind < 0.06:
        patch = 1 - patch
    elif kind < 0.16:
        factor = float(rng.uniform(0.75, 1.6))
        small = cv2.resize(
            patch, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        )
        patch = cv2.resize(small, patch.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    elif kind < 0.19:
        levels = int(rng.integers(6, 40))
        patch = np.rint(patch * levels) / levels
    elif kind < 0.31:
        coded = cv2.imencode(
            ".jpg",
            np.rint(np.clip(patch, 0, 1) * 255).astype(np.uint8),
            [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))],
        )[1]
        patch = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED).astype(np.float32) / 255
    elif kind < 0.34:
        patch = cv2.GaussianBlur(patch, (0, 0), float(rng.uniform(0.4, 0.9)))
    return np.clip(patch, 0, 1)


def _targets(written: list[_Line], scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the lines: what is to be found, and how much each pixel counts (a small line as much as a large one)."""
    target, weight = np.zeros((SIDE, SIDE), np.float32), np.ones((SIDE, SIDE), np.float32)
    for line in written:
        corners = line.corners * scale
        if not line.is_seen:
            _fill(weight, corners, 0.0)
            continue
        kernel = _shrunk(corners, SHRINK)
        _fill(target, kernel, 1.0)
        height = line.height * scale
        _fill(weight, kernel, float(np.clip(24.0 / max(height, 1.0), 0.6, 4.0)))
    return target, weight


def _shrunk(corners: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    down = (corners[3] - corners[0]) * share
    return corners + np.array([down, down, -down, -down], np.float32)


def _fill(canvas: NDArray[np.float32], corners: NDArray[np.float32], value: float) -> None:
    """Fill a polygon whose corners lie between pixels: pixel centres are half a pixel on."""
    points = np.rint((corners - 0.5) * (1 << _SUB_PIXEL_BITS)).astype(np.int32)
    cv2.fillConvexPoly(canvas, points, value, shift=_SUB_PIXEL_BITS)
