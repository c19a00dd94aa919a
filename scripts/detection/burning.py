"""Blocks of ink into frames: where, how visible, in which frames; and what is true of each word afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .truth import Word

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from .writing import Block, Font

    Frames = NDArray[np.float32]
    Colour = tuple[float, float, float]

_TRIES = 60
_ANATOMY = 0.08
_ON_ANATOMY = 0.6
_INK = 0.5
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Style:
    """How a block is written.

    Attributes
    ----------
    place : str
        ``corner``, ``border``, ``inside``, or ``anatomy`` (straight over what is not black).
    strength : float
        Wanted difference of ink and ground (0 to 1); 1 is black or white.
    least_contrast : float
        A place in which any word would have less is not taken: nobody could read it.
    sunk : float
        Part of a word that may have less than that, as where a line crosses from dark to bright.
    ground : str
        ``none``, ``box`` or ``outline``.
    tint : tuple of float
        Weight of red, green and blue in the ink.
    """

    place: str = "inside"
    strength: float = 1.0
    least_contrast: float = 0.04
    sunk: float = 0.1
    ground: str = "none"
    rotation: int = 0
    tint: Colour = (1.0, 1.0, 1.0)


class Canvas:
    """Frames that are written on: float32, shape (frames, rows, columns, samples), 0 to 1."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.words: list[Word] = []
        self._taken: NDArray[np.bool_] = np.zeros(frames.shape[1:3], np.bool_)

    def burn(self, rng: Generator, block: Block, font: Font, style: Style, shown: tuple[int, int]) -> bool:
        """Write a block where it fits into frames ``shown[0]`` to ``shown[1]``; return whether it did."""
        for _ in range(_TRIES):
            place = self._place(rng, block, style.place)
            if place is None or self._taken[place].any():
                continue
            luma = _luma_of(self.frames[shown[0]][place])
            if style.place == "anatomy" and (luma > _ANATOMY).mean() < _ON_ANATOMY:
                continue
            ink = _ink_value(rng, float(luma.mean()), style)
            ground = _grounded(luma[..., None], block.ink, 1.0 - round(ink), style.ground)[..., 0]
            contrasts = [_contrast(ground, block.labels == i + 1, ink, style) for i in range(len(block.tokens))]
            if min(contrasts) < style.least_contrast:
                continue
            self._paint(block, place, ink, style, shown)
            self.words += _words(block, place=place, font=font, style=style, shown=shown, contrasts=contrasts)
            return True
        return False

    def _place(self, rng: Generator, block: Block, where: str) -> tuple[slice, slice] | None:
        (height, width), (rows, columns) = block.ink.shape, self._taken.shape
        if height > rows or width > columns:
            return None
        row, column = int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1))
        margin = (
            int(rng.integers(0, 4)) if where == "border" else int(rng.integers(2, max(3, min(rows, columns) // 30)))
        )
        if where in {"corner", "border"}:
            row = int(rng.choice([min(margin, rows - height), max(0, rows - height - margin)]))
        if where == "corner" or (where == "border" and rng.random() < _INK):
            column = int(rng.choice([min(margin, columns - width), max(0, columns - width - margin)]))
        return slice(row, row + height), slice(column, column + width)

    def _paint(
        self, block: Block, place: tuple[slice, slice], ink: float, style: Style, shown: tuple[int, int]
    ) -> None:
        colour = np.array(style.tint if self.frames.shape[-1] > 1 else (1.0,), np.float32) * ink
        for frame in self.frames[shown[0] : shown[1] + 1]:
            ground = _grounded(frame[place], block.ink, 1.0 - round(ink), style.ground)
            frame[place] = ground * (1 - block.ink[..., None]) + colour * block.ink[..., None]
        space = max(3, min(block.ink.shape) // 4)
        rows, columns = (slice(max(0, part.start - space), part.stop + space) for part in place)
        self._taken[rows, columns] = True


def _luma_of(samples: Frames) -> Frames:
    return samples[..., 0] if samples.shape[-1] == 1 else np.asarray(samples @ _LUMA, dtype=np.float32)


def _ink_value(rng: Generator, luma: float, style: Style) -> float:
    """Return how bright the ink is: away from what is under it, or (at full strength) black or white by chance."""
    if style.strength == 1.0:
        return float(rng.integers(2)) if style.place == "anatomy" else float(luma < _INK)
    return luma + style.strength * (1 - luma) if luma < _INK else luma - style.strength * luma


def _grounded(samples: Frames, ink: Frames, value: float, ground: str) -> Frames:
    """Put a box of one colour, or an outline, under the ink."""
    if ground == "box":
        return np.full_like(samples, value)
    if ground == "outline":
        wide = cv2.dilate(ink, np.ones((3, 3), np.uint8))[..., None]
        return np.asarray(samples * (1 - wide) + value * wide, dtype=np.float32)
    return samples


def _contrast(ground: Frames, inked: NDArray[np.bool_], ink: float, style: Style) -> float:
    """Return by how much ink differs from what is within two pixels of it, but for the part that may be sunk."""
    if not inked.any():
        return 0.0  # too thin a font: nothing is left of a word
    around = cv2.dilate(inked.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    return float(np.quantile(np.abs(ground[around] - ink * float(_LUMA @ style.tint)), style.sunk))


def _words(
    block: Block,
    *,
    place: tuple[slice, slice],
    font: Font,
    style: Style,
    shown: tuple[int, int],
    contrasts: list[float],
) -> list[Word]:
    words = []
    for number, token in enumerate(block.tokens):
        inked = block.labels == number + 1
        rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
        words.append(
            Word(
                text=token.text,
                kind=token.kind,
                row=int(place[0].start + rows[0]),
                column=int(place[1].start + columns[0]),
                height=int(rows[-1] - rows[0] + 1),
                width=int(columns[-1] - columns[0] + 1),
                first_frame=shown[0],
                last_frame=shown[1],
                cap_height=font.cap_height,
                rotation=style.rotation,
                contrast=round(contrasts[number], 3),
                font=font.name,
                ground=style.ground,
            )
        )
    return words
