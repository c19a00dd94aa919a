"""What the readers of rule files share."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dicom_node.redaction.rule_conditions import And, Condition, Operator, Test
from dicom_node.redaction.rules import Area, Rule

ROWS, COLUMNS = 0x00280010, 0x00280011
AREA_KEYS = ("left", "top", "width", "height")
FIRST_OF_A_DATA_SET = 0x00080000
"""Group 0002 is of a file, and says who wrote the file (PS3.10 7.1): no rule can ask for it."""


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What a rule file holds.

    ``said`` is for the operator: what stands in the file and is not carried out.
    """

    rules: tuple[Rule, ...]
    said: tuple[str, ...] = ()


class Mistake(Exception):  # noqa: N818 - becomes a ConfigurationError as soon as the file is known
    """Something in a rule file that is not understood, and where."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")


def area_of(numbers: str, line: int) -> Area:
    """Read ``left, top, width, height``, the coordinates of CTP."""
    left, top, width, height = four_numbers(numbers, line)
    if not width or not height:
        msg = f"{numbers!r}: width and height have to be 1 or more"
        raise Mistake(line, msg)
    return Area(top, left, height, width)


def four_numbers(text: str, line: int) -> tuple[int, int, int, int]:
    """Read four numbers of pixels with commas between them."""
    numbers = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", text)
    if numbers is None:
        msg = f"{text!r}: four whole numbers of pixels are needed, with commas between them"
        raise Mistake(line, msg)
    return int(numbers[1]), int(numbers[2]), int(numbers[3]), int(numbers[4])


def check_pattern(pattern: str, line: int) -> None:
    """Refuse what is no regular expression, before an image meets it."""
    try:
        re.compile(pattern)
    except re.error as error:
        msg = f"{pattern!r} is no regular expression: {error}"
        raise Mistake(line, msg) from None


def sized(condition: Condition | None) -> tuple[Condition, int | None, int | None]:
    """Take the size out of ``Rows equals .. and Columns equals ..``, so that another size is said, not passed over."""
    sizes: dict[int, int] = {}
    others: list[Condition] = []
    for part in condition.conditions if isinstance(condition, And) else [condition] if condition else []:
        size = _size_asked_for(part)
        if size is None or size[0] in sizes:
            others.append(part)
        else:
            sizes[size[0]] = size[1]
    return And(tuple(others)), sizes.get(ROWS), sizes.get(COLUMNS)


def _size_asked_for(condition: Condition) -> tuple[int, int] | None:
    match condition:
        case Test(attribute=(tag,), operator=Operator.EQUALS | Operator.IS, value=value):
            return (tag, int(value)) if tag in {ROWS, COLUMNS} and re.fullmatch("[1-9][0-9]*", value) else None
    return None
