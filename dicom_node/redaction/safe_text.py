"""The grammar of safe text: what tells of the image and of nobody.

Its patterns are data (``data/safe_text.txt``), a route may add some, and each has to match a whole item. An unanchored
``pa`` would spare "Pat ID 898".
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from dicom_node.redaction.readings import normal, repaired

LONGEST_ITEM = 60
"""Characters of one item; with the next this keeps a line of any length cheap."""

MOST_PARTS = 8
"""Words of one item."""

_BETWEEN = re.compile(r" ?[;|] ?|, | / | |(?<=\d)(?=[A-Za-z]{2})")
"""Where an item may end: also before letters behind a number, as blanks get lost (``kV120mA250``)."""

_AROUND = " .:;,-_*|"


def is_safe(text: str, more: tuple[str, ...] = ()) -> bool:
    """Whether a reading is a row of safe items and nothing else.

    Parameters
    ----------
    more : tuple of str
        Patterns of a route beside those of the package.
    """
    as_read = normal(text)
    return any(_is_row(form, more) for form in dict.fromkeys((as_read, repaired(as_read))))


def patterns() -> tuple[str, ...]:
    """Return the patterns of the package, in their order in the file."""
    lines = (files(__package__) / "data" / "safe_text.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line.strip() and not line.startswith("#"))


def _is_row(text: str, more: tuple[str, ...]) -> bool:
    """Whether items can be laid end to end over a line; each end that can be reached is noted once."""
    text = text.strip(_AROUND)
    gaps = [found.span() for found in _BETWEEN.finditer(text)]
    starts, ends = [0, *(end for _, end in gaps)], [*(start for start, _ in gaps), len(text)]
    reached = {0}
    for first, start in enumerate(starts):
        if first in reached:
            last = min(first + MOST_PARTS, len(ends))
            reached |= {i + 1 for i in range(first, last) if _is_item(text[start : ends[i]], more)}
    return bool(text) and len(ends) in reached


def _is_item(text: str, more: tuple[str, ...]) -> bool:
    if not 0 < len(text) <= LONGEST_ITEM:
        return False
    text = text.rstrip(":")
    return any(pattern.fullmatch(text) for pattern in (_shipped(), *_added(more)))


@cache
def _shipped() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns()), re.IGNORECASE)


@cache
def _added(more: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in more)
