"""What a recogniser made of a line, in forms that can be compared.

It takes O for 0, l for 1, S for 5 and the other way round, drops spaces, and writes full-width punctuation.
"""

from __future__ import annotations

import re
import unicodedata

LEGIBLE = 0.6
"""Confidence below which a reading says nothing."""

_WITHOUT_DECOMPOSITION = str.maketrans(
    {"Ø": "O", "Ł": "L", "Đ": "D", "Æ": "AE", "Œ": "OE", "Þ": "TH", "ẞ": "SS", "İ": "I"}
)
_AS_LETTERS = str.maketrans("012568", "OIZSGB")
_BLURRED = frozenset("O口")
_BOXES = frozenset("□■▯口")
"""How letters come out that are too small, or that a font does not have."""

_ONE_STROKE = str.maketrans("L", "I")
_TO_DIGITS = str.maketrans("OoQDIlSs", "00001155")
_TO_LETTERS = str.maketrans("015", "OIS")

_NUMBER = re.compile(r"(?:\d[OoQDIlSs\d]*|(?<![A-Za-z\d])[OoQIlSs]{1,3}[.,]?\d[OoQDIlSs\d]*)(?![A-Za-z])")
_WORD = re.compile(r"(?<![^\W_])[A-Za-z015]{2,12}(?![^\W_])")
_RING = re.compile(r"(?<=[A-Za-z])0(?=[A-Za-z])|(?<=[A-Za-z]{2})0(?![\d.,])")
"""A digit between letters, or behind a word of them: none of a number."""

_SMALL_L = re.compile(r"\bl(?=[A-Z])")


def normal(text: str) -> str:
    """Return a reading with single spaces, and without full-width and other compatibility forms."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def plain(text: str) -> str:
    """Return a text in upper case without diacritics (ø becomes O, ß SS)."""
    decomposed = unicodedata.normalize("NFKD", text.upper().translate(_WITHOUT_DECOMPOSITION))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def folded(text: str) -> str:
    """Return letters and digits alone, with one sign for those that are taken for each other."""
    squeezed = "".join(character for character in plain(text) if character.isalnum())
    return squeezed.translate(_AS_LETTERS).translate(_ONE_STROKE)


def is_legible(text: str, confidence: float) -> bool:
    """Whether a reading says something: it does not where the recogniser saw nothing but rings and boxes."""
    signs = folded(text)
    is_blurred = len(signs) > 1 and set(signs) <= _BLURRED
    return bool(text.strip()) and confidence >= LEGIBLE and not is_blurred and not _BOXES & set(text)


def repaired(text: str) -> str:
    """Return a reading in which letters in numbers are digits, and digits in words letters: ``F0V 35O`` is FOV 350."""
    words = _RING.sub("O", _SMALL_L.sub("I", text))
    numbers = _NUMBER.sub(lambda found: found[0].translate(_TO_DIGITS), words)
    return _WORD.sub(_as_word, numbers)


def _as_word(found: re.Match[str]) -> str:
    """Write digits as letters in a word of letters; a number, or one behind letters (``T1``), stays."""
    word = found[0]
    is_word = word[-1].isalpha() and sum(map(str.isalpha, word)) >= len(word) / 2
    return word.translate(_TO_LETTERS) if is_word else word
