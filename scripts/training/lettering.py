"""Words to ink, with every font the machine has: TrueType, X11 bitmaps, Hershey strokes."""

from __future__ import annotations

import gzip
import io
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from detection.identity import identity_lines, made_up, technical_lines
from detection.writing import Font, true_type
from PIL import Image, ImageDraw, ImageFont, PcfFontFile

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Ink = NDArray[np.float32]

_HERSHEY = ("simplex", "plain", "duplex", "complex", "triplex")
_X11 = Path("/usr/share/fonts/X11")
_NOT_LATIN = re.compile(
    r"ISO8859-(?!1\.)|KOI8|JIS|^k14|^gb|^han|^jiskan|^cl|^deco|^nil|cursor|^olgl|^sym|^mic|ja\.|ko\.|^arabic|^6x13O"
)
_SMALLEST_BITMAP, _LARGEST_BITMAP = 4, 16
_MODALITIES = ("CT", "MR", "DX", "MG", "US", "SC", "XA")
_SYLLABLES = [
    "ba",
    "be",
    "bi",
    "bo",
    "chen",
    "cker",
    "da",
    "di",
    "do",
    "el",
    "er",
    "fa",
    "fi",
    "ga",
    "gu",
    "ha",
    "he",
    "in",
    "ja",
    "ka",
    "ko",
    "la",
    "li",
    "lo",
    "ma",
    "mi",
    "mo",
    "na",
    "ni",
    "no",
    "o",
    "pa",
    "per",
    "qui",
    "ra",
    "ri",
    "ro",
    "s",
    "sa",
    "sch",
    "sen",
    "ser",
    "so",
    "st",
    "ta",
    "te",
    "ti",
    "to",
    "u",
    "va",
    "vi",
    "wa",
    "xi",
    "ya",
    "yo",
    "za",
    "zu",
]
_LABELS = [
    *("Name", "Pat", "Patient", "ID", "MRN", "DOB", "Born", "Acc"),
    *("Date", "Time", "Hosp", "Dr.", "Ref", "Sex", "Age", "Study"),
]
_MARKS = ["L", "R", "LT", "RT", "A", "P", "H", "F", "AP", "PA", "CC", "M", "5", "12", "1", "7", "II", "*"]
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefghijklmnopqrstuvwxyz"


class Writer:
    """Something to write with, in one size.

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses the font: half TrueType, a third Hershey strokes, the others bitmaps.
    cap_height : float
        Wanted height of a capital letter, in pixels; bitmaps take the nearest size they have.
    """

    def __init__(self, rng: Generator, cap_height: float) -> None:
        self._hard = bool(rng.random() < 0.3)  # a third without grey edges
        self._bold = cap_height > 8 and bool(rng.random() < 0.1)  # strokes would touch below
        kind = rng.choice(["true type", "hershey", "bitmap"], p=(0.55, 0.2, 0.25))
        self._bitmap, self._times, self._font = None, 1, None
        if kind == "bitmap" and _bitmaps():
            self._times = max(1, round(cap_height / _LARGEST_BITMAP))
            heights = np.array([height for height, _ in _bitmaps()])
            near = np.argsort(np.abs(heights * self._times - cap_height))[:12]
            self._bitmap = _bitmaps()[int(rng.choice(near))][1]
        elif kind == "true type":
            self._font = Font(str(rng.choice(true_type())), max(3, round(cap_height)), smooth=not self._hard)
        else:
            self._font = Font(f"hershey:{rng.choice(_HERSHEY)}", max(4, round(cap_height)), smooth=not self._hard)

    def ink(self, text: str) -> Ink:
        """Write one line: float32, 0 to 1, cut to what is inked."""
        if self._bitmap is not None:
            width = max(1, int(self._bitmap.getbbox(text)[2]) + 2)
            picture = Image.new("L", (width, 4 * _LARGEST_BITMAP))
            ImageDraw.Draw(picture).text((0, 4), text, fill=255, font=self._bitmap)
            ink = (np.asarray(picture) > 0).astype(np.float32).repeat(self._times, 0).repeat(self._times, 1)
        else:
            assert self._font is not None  # noqa: S101 - one of the two is there
            ink = self._font.ink(text)
        if self._bold:
            ink = cv2.dilate(ink, np.ones((1, 2), np.uint8))
        return _trimmed(ink)


def _trimmed(ink: Ink) -> Ink:
    rows, columns = np.flatnonzero((ink > 0.2).any(axis=1)), np.flatnonzero((ink > 0.2).any(axis=0))  # seen
    if not len(rows):
        return np.zeros((0, 0), np.float32)
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def lines(rng: Generator) -> list[str]:
    """Make up a block of lines, as devices write them, or with letters by chance; some are one mark."""
    kind = rng.random()
    if kind < 0.12:  # isolated marks
        return [str(rng.choice(_MARKS)) if rng.random() < 0.5 else _letters(rng, 3)]
    if kind < 0.4:  # what a device says of a person
        return [" ".join(t.text for t in line) for line in identity_lines(rng, made_up(rng), int(rng.integers(1, 6)))]
    if kind < 0.55:  # and of the image
        said = technical_lines(rng, str(rng.choice(_MODALITIES)), int(rng.integers(1, 6)))
        return [" ".join(t.text for t in line) for line in said]
    return [_line(rng) for _ in range(int(rng.integers(1, 7)))]


def _line(rng: Generator) -> str:
    words = [_word(rng) for _ in range(int(rng.choice([1, 2, 3, 4, 7], p=(0.3, 0.3, 0.2, 0.15, 0.05))))]
    if rng.random() < 0.3:  # a third
        words.insert(0, str(rng.choice(_LABELS)) + str(rng.choice([":", "", ".", "#", " :"])))
    return " ".join(words)


def _word(rng: Generator) -> str:
    kind = rng.random()
    if kind < 0.45:  # a name
        word = "".join(rng.choice(_SYLLABLES, int(rng.integers(1, 5))))
        return str(
            rng.choice(
                [word.upper(), word.title(), word, word.upper() + "^" + word[:2].upper()], p=(0.5, 0.3, 0.1, 0.1)
            )
        )
    digits = "".join(str(d) for d in rng.integers(0, 10, int(rng.integers(1, 10))))
    if kind < 0.6:  # a number
        return str(rng.choice([digits, digits + "-" + digits[:4], "A" + digits, digits[:2] + "." + digits[:1]]))
    if kind < 0.85:  # a date or a time
        a, b, c = rng.integers(1, 13), rng.integers(1, 29), rng.integers(1920, 2030)
        forms = [
            *(f"{c}-{a:02}-{b:02}", f"{b:02}.{a:02}.{c}", f"{a}/{b}/{c}", f"{c}{a:02}{b:02}"),
            *(f"{a:02}:{b:02}:{b:02}", f"{a:02}:{b:02} PM", f"[{b:03}Y]"),
        ]
        return str(rng.choice(forms))
    return _letters(rng, 8)


def _letters(rng: Generator, most: int) -> str:
    return "".join(rng.choice(list(_ALPHABET), int(rng.integers(1, most + 1))))


@cache
def _bitmaps() -> tuple[tuple[int, ImageFont.ImageFont], ...]:
    """Load the X11 bitmap fonts in ISO 8859-1, each with the height of its capitals."""
    fonts = []
    for path in sorted(_X11.glob("*/*.pcf.gz")):
        if _NOT_LATIN.search(path.name):
            continue
        try:
            font = PcfFontFile.PcfFontFile(io.BytesIO(gzip.decompress(path.read_bytes()))).to_imagefont()
            letters = {letter: np.asarray(_drawn(font, letter)) for letter in "AHMS37am"}
            height = int(np.ptp(np.flatnonzero(letters["H"].any(axis=1)))) + 1
        except Exception:  # noqa: BLE001, S112 - a font of another kind is none
            continue
        if _SMALLEST_BITMAP <= height <= _LARGEST_BITMAP and len(
            {drawn.tobytes() for drawn in letters.values()}
        ) == len(letters):
            fonts.append((height, font))
    return tuple(fonts)


def _drawn(font: ImageFont.ImageFont, text: str) -> Image.Image:
    picture = Image.new("L", (64, 64))
    ImageDraw.Draw(picture).text((2, 2), text, fill=255, font=font)
    return picture
