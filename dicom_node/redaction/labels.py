"""Labels: what a device writes before a value about the patient ("Name:", "DOB"), and the boxes that are such a value.

A value can read as anything, also as safe text; what stands to the right of its label, or below it, goes with it.
"""

from __future__ import annotations

import itertools
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, get_args

from dicom_node.model import Kind
from dicom_node.redaction.readings import normal, plain
from dicom_node.redaction.safe_text import is_safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dicom_node.redaction.boxes import Box

FIRST_REACH = 12.0
"""Heights of a label between it and its value on the same line: values stand in columns."""

REACH = 2.0
"""Heights of a line between the words of one value."""

PITCH = 1.2
"""Heights of a label between it and a value below: about one line."""

MOST_OF_A_ROW = 4

_SIGNS = r"[\s:.#=°º()\-]*"


def label_in(text: str) -> Kind:
    """Return the kind of value that a label in a reading announces; empty without a label."""
    found = None if is_safe(text) else _anywhere().search(plain(normal(text)))  # "DR 60" is no doctor
    return _kinds_by_letters()[_letters(found[1])] if found else ""


def is_label(text: str) -> bool:
    """Whether a reading is a label and nothing else, so that its value stands in another box."""
    return bool(_anywhere().sub(" ", plain(normal(text))).strip(" :.#=°º()-/") == "" and label_in(text))


def values_beside(boxes: Sequence[Box], texts: Sequence[str]) -> dict[Box, Kind]:
    """Find the boxes that stand where the value of a label stands.

    Parameters
    ----------
    boxes : sequence of Box
        In one picture.
    texts : sequence of str
        What each box says; empty where that is not known.

    Returns
    -------
    dict of Box to str
        The kind of value that the label announces.
    """
    values: dict[Box, Kind] = {}
    for label, text in zip(boxes, texts, strict=True):
        if kind := label_in(text):
            reach = FIRST_REACH if is_label(text) else REACH
            found = [*_right_of(label, boxes, reach), *(_below(label, boxes) if is_label(text) else ())]
            values |= {box: kind for box in found if box not in values}
    return values


def rows_of(boxes: Sequence[Box]) -> Iterator[tuple[Box, ...]]:
    """List what may be one text in several boxes: neighbours on a line, up to four of them."""
    for box in boxes:
        row = (box, *itertools.islice(_right_of(box, boxes, REACH), MOST_OF_A_ROW - 1))
        yield from (row[:count] for count in range(2, len(row) + 1))


def _right_of(label: Box, boxes: Sequence[Box], reach: float) -> Iterator[Box]:
    """Walk the words of a line to the right, until there is a gap."""
    end = label.column + label.width
    for box in sorted(boxes, key=lambda other: other.column):
        if box is label or not _is_beside(label, box) or box.column + box.width <= end:
            continue
        if box.column - end > reach * min(label.height, label.width):
            return
        yield box
        end, reach = box.column + box.width, REACH


def _is_beside(label: Box, box: Box) -> bool:
    """Whether a box begins right of where a label does, with at least half of the lower one's height in its line."""
    overlap = min(label.row + label.height, box.row + box.height) - max(label.row, box.row)
    return box.column > label.column and overlap * 2 >= min(label.height, box.height)


def _below(label: Box, boxes: Sequence[Box]) -> Iterator[Box]:
    """List what begins under the beginning of a label, on the next line."""
    bottom = label.row + label.height
    for box in boxes:
        gap = box.row - bottom
        starts_with_it = abs(box.column - label.column) <= label.height
        if box is not label and starts_with_it and -label.height / 2 <= gap <= PITCH * label.height:
            yield box


@cache
def _kinds() -> dict[str, Kind]:
    """Read the labels: a line ``kind: label, label``; ``#`` begins a comment."""
    kinds: dict[str, Kind] = {}
    for line in (files(__package__) / "data" / "labels.txt").read_text(encoding="utf-8").splitlines():
        name, _, labels = line.partition(":")
        for kind in get_args(Kind):
            if kind and kind == name:
                kinds |= dict.fromkeys((_words(label) for label in labels.split(",")), kind)
    return kinds


@cache
def _kinds_by_letters() -> dict[str, Kind]:
    return {_letters(words): kind for words, kind in _kinds().items()}


@cache
def _anywhere() -> re.Pattern[str]:
    """Make the pattern of all labels, longest first; blanks and points between the words of one get lost."""
    spelled = (_SIGNS.join(map(re.escape, words.split())) for words in sorted(_kinds(), key=len, reverse=True))
    return re.compile(rf"(?<![^\W_])({'|'.join(spelled)})(?![^\W_])")


def _letters(label: str) -> str:
    return "".join(_words(label).split())


def _words(label: str) -> str:
    return " ".join(re.split(r"[\s:.#=°º()\-]+", label.strip(" :.#=°º()-").upper()))
