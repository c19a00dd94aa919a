"""Words to ink: fonts of three families, lines, blocks, rotation.

Ink is float32, 0 to 1; the labels beside it say which word a pixel belongs to (0: none, 1: the first).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Ink = NDArray[np.float32]

_HERSHEY = {
    "simplex": cv2.FONT_HERSHEY_SIMPLEX,
    "plain": cv2.FONT_HERSHEY_PLAIN,
    "duplex": cv2.FONT_HERSHEY_DUPLEX,
    "complex": cv2.FONT_HERSHEY_COMPLEX,
    "triplex": cv2.FONT_HERSHEY_TRIPLEX,
}
_WITHOUT_LETTERS = re.compile(
    r"Math|Sym|NonUni|LastResort|Display|^cm|Emoji|Dings|Hairline|Thin|ExtraLight", re.IGNORECASE
)
_LETTERS = "AHMSmt37"
_BITMAP_CAP_HEIGHT = 7
_VISIBLE = 0.2
_MIDDLE = 0.5
_RIGHT_ANGLE = 90


class Token(NamedTuple):
    """A word to write, and its kind (see :mod:`.truth`)."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of ink: ``ink`` and ``labels`` of shape (rows, columns), and the words the labels count."""

    ink: Ink
    labels: NDArray[np.int32]
    tokens: tuple[Token, ...]


class Font:
    """Something to write with.

    Parameters
    ----------
    name : str
        ``hershey:<face>``, ``bitmap``, or the path of a TrueType font.
    cap_height : int
        Height of a capital letter in pixels; ``bitmap`` takes the nearest multiple it has.
    smooth : bool
        Soft or hard edges.
    """

    def __init__(self, name: str, cap_height: int, *, smooth: bool = True) -> None:
        self.name = name if ":" in name or name == "bitmap" else Path(name).stem
        self._source, self._smooth = name, smooth
        self._times = max(1, round(cap_height / _BITMAP_CAP_HEIGHT))
        self.cap_height = self._times * _BITMAP_CAP_HEIGHT if name == "bitmap" else cap_height

    def ink(self, text: str) -> Ink:
        """Write one word; all words of a font are of the same height, on the same base line."""
        if self._source == "bitmap":
            return np.kron(
                _written(text, ImageFont.load_default_imagefont(), 12), np.ones((self._times,) * 2, np.float32)
            )
        if self._source.startswith("hershey:"):
            return self._hershey(text)
        font = ImageFont.truetype(self._source, max(5, round(self.cap_height * 100 / _cap_height_of_100(self._source))))
        ink = _written(text, font, sum(font.getmetrics()) + 2)
        return ink if self._smooth else (ink > _MIDDLE).astype(np.float32)

    def _hershey(self, text: str) -> Ink:
        face = _HERSHEY[self._source.partition(":")[2]]
        thickness = max(1, round(self.cap_height / 12))
        scale = cv2.getFontScaleFromHeight(face, self.cap_height, thickness)
        (width, height), base_line = cv2.getTextSize(text, face, scale, thickness)
        drawn = np.zeros((height + base_line + 4, width + 4), np.uint8)
        line = cv2.LINE_AA if self._smooth else cv2.LINE_8
        cv2.putText(drawn, text, (2, height + 2), face, scale, 255, thickness, line)
        return np.asarray(drawn, dtype=np.float32) / np.float32(255)


def any_font(rng: Generator, cap_height: int) -> Font:
    """Choose a font: half TrueType (of what is installed), a third Hershey, the others the bitmap font."""
    families = (true_type(), tuple(f"hershey:{face}" for face in _HERSHEY), ("bitmap",))
    family = families[int(rng.choice(3, p=(0.5, 0.35, 0.15)))] or ("bitmap",)
    return Font(str(rng.choice(family)), cap_height, smooth=bool(rng.random() < 0.7))  # noqa: PLR2004 - most are


@cache
def true_type() -> tuple[str, ...]:
    """List the TrueType fonts with Latin letters, of the system and of installed packages; one path a name."""
    spec = find_spec("matplotlib")
    packaged = [Path(p) / "mpl-data" for p in (spec.submodule_search_locations or [])] if spec else []
    roots = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), *packaged]
    found = {path.name: str(path) for root in roots for path in sorted(root.rglob("*.ttf"))}
    return tuple(
        path for name, path in sorted(found.items()) if not _WITHOUT_LETTERS.search(name) and _has_letters(path)
    )


def _has_letters(path: str) -> bool:
    """Whether a font has Latin letters: one that has none draws the same box for each."""
    try:
        font = ImageFont.truetype(path, 40)
    except OSError:  # a font of bitmaps
        return False
    return len({bytes(font.getmask(letter)) for letter in _LETTERS}) == len(_LETTERS)


def write_block(lines: Sequence[Sequence[Token]], font: Font, *, rotation: int = 0) -> Block:
    """Write lines of words, one below the other, and turn them counter-clockwise by so many degrees."""
    written = [[(token, font.ink(token.text)) for token in line] for line in lines]
    gap, leading = max(2, font.cap_height // 2), max(1, font.cap_height // 5)
    width = max(sum(ink.shape[1] + gap for _, ink in line) for line in written)
    height = sum(max(ink.shape[0] for _, ink in line) + leading for line in written)
    ink, labels = np.zeros((height, width), np.float32), np.zeros((height, width), np.int32)
    tokens: list[Token] = []
    row = 0
    for line in written:
        column = 0
        for token, word in line:
            tokens.append(token)
            place = (slice(row, row + word.shape[0]), slice(column, column + word.shape[1]))
            ink[place] = np.maximum(ink[place], word)
            labels[place][word > _VISIBLE] = len(tokens)
            column += word.shape[1] + gap
        row += max(word.shape[0] for _, word in line) + leading
    return _trimmed(Block(*_turned(ink, labels, rotation), tuple(tokens)))


def _turned(ink: Ink, labels: NDArray[np.int32], degrees: int) -> tuple[Ink, NDArray[np.int32]]:
    if degrees % _RIGHT_ANGLE == 0:
        return np.rot90(ink, degrees // _RIGHT_ANGLE).copy(), np.rot90(labels, degrees // _RIGHT_ANGLE).copy()
    rows, columns = ink.shape
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), degrees, 1.0)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = int(rows * sine + columns * cosine) + 2, int(rows * cosine + columns * sine) + 2
    turn[:, 2] += (size[0] - columns) / 2, (size[1] - rows) / 2
    turned = cv2.warpAffine(labels.astype(np.float32), turn, size, flags=cv2.INTER_NEAREST)
    return np.asarray(cv2.warpAffine(ink, turn, size), dtype=np.float32), turned.astype(np.int32)


def _trimmed(block: Block) -> Block:
    rows, columns = np.flatnonzero(block.ink.any(axis=1)), np.flatnonzero(block.ink.any(axis=0))
    if not rows.size:  # too thin a font: nothing is left, and nothing will be written
        return block
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return Block(block.ink[part], block.labels[part], block.tokens)


def _written(text: str, font: Any, height: int) -> Ink:  # noqa: ANN401 - one of PIL's two kinds of font
    width = int(font.getbbox(text)[2]) + 2
    picture = Image.new("L", (width, height))
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture, dtype=np.float32) / np.float32(255)


@cache
def _cap_height_of_100(path: str) -> int:
    box = ImageFont.truetype(path, 100).getbbox("H")
    return max(1, round(box[3] - box[1]))
