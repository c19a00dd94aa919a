"""The grammar of safe text: each pattern spares its examples and nothing about a person."""

from __future__ import annotations

import re
import time
from importlib.resources import files
from itertools import pairwise

import pytest

from dicom_node.config import NEVER_SAFE
from dicom_node.redaction.safe_text import is_safe, patterns

DATA = files("dicom_node.redaction") / "data"


def _described() -> list[tuple[str, str]]:
    lines = (DATA / "safe_text.txt").read_text(encoding="utf-8").splitlines()
    return [(above, line) for above, line in pairwise(lines) if line and not line.startswith("#")]


def _names() -> list[str]:
    lines = [line for name in ("given", "family") for line in (DATA / f"{name}_names.txt").read_text().splitlines()]
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(("comment", "pattern"), _described(), ids=lambda text: text[2:30])
def test_a_pattern_is_described_and_spares_its_examples(comment: str, pattern: str) -> None:
    what, *examples = comment.removeprefix("# ").split(" | ")
    assert what
    assert examples
    for example in examples:
        assert re.fullmatch(pattern, example, re.IGNORECASE), example
        assert is_safe(example), example


def test_no_pattern_spares_identity_or_nothing() -> None:
    assert len(patterns()) > 40
    spared = [(p, text) for p in patterns() for text in NEVER_SAFE if re.fullmatch(p, text, re.IGNORECASE)]
    assert spared == []


def test_no_common_name_is_safe_text() -> None:
    assert [name for name in _names() if is_safe(name)] == []


@pytest.mark.parametrize(
    "text",
    ["kV 120 mA 250", "kV120mA250", "W400 L40", "FR36Hz", "kV\uff1a120", "Im:12/120 Se:3", "TIS 0.6 MI 0.8",
     "Ax T2 FLAIR FS", "LT KIDNEY SAG", "zoom 1,2", "R  CC", "120 kV, 250 mA", "THK5mm", "RCC", "LAO 30 CRAN 20",
     "Supine", "NEX 2"],
)  # fmt: skip
def test_rows_of_items_are_safe_with_and_without_blanks(text: str) -> None:
    assert is_safe(text)


@pytest.mark.parametrize(
    "text",
    ["F0V 35O", "5L 5.0", "1M 42", "lM 42", "SUP1NE", "TR 45OO TE 9O", "kV l20", "5upine", "L ML0", "RML0", "F0V350"],
)  # fmt: skip
def test_letters_and_digits_that_are_taken_for_each_other_are_repaired(text: str) -> None:
    assert is_safe(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "35", "120 250", "56Y", "3M", "GA 20w3d", "70 kg", "12:34:56", "10/12/19", "2.1.70", "12 03 1970",
     "Ex: 1234", "ACC 1234", "SSN 1234", "L1234", "D123", "ST1234", "SE12345", "A12", "B1 C2", "Pat ID 898",
     "DOE 120 kV", "kV 120 DOE", "L TAN", "LI", "MA", "L DOE", "J. DOE", "M", "LR", "1.2.840", "LAKEVIEW CT",
     "R0E", "D0E", "MRN0", "A0B1", "LE0 C0X"],
)  # fmt: skip
def test_what_tells_of_a_person_a_place_a_date_or_an_examination_is_not(text: str) -> None:
    assert not is_safe(text)


@pytest.mark.parametrize(
    "text",
    ["kV 120 " * 1500, "a" * 10_000, "1" * 10_000, "L " * 5000, "SAG " * 2500, "T1_" * 3333, "12.," * 2500, "1," * 5000,
     "|" * 10_000, "O" * 10_000, "kV120" * 2000, "[" * 10_000, "0 " * 5000],
    ids=lambda text: text[:7],
)  # fmt: skip
def test_a_line_of_ten_thousand_characters_is_decided_at_once(text: str) -> None:
    started = time.process_time()
    is_safe(text)
    assert time.process_time() - started < 10


def test_a_route_adds_patterns_that_are_matched_whole_and_in_rows() -> None:
    more = (r"PROTO [A-D]",)
    assert not is_safe("Proto B")
    assert is_safe("Proto B", more)
    assert is_safe("kV 120 Proto B L", more)
    assert not is_safe("Proto Bx", more)
    assert not is_safe("DOE Proto B", more)
