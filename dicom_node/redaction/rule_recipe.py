"""Reader of the ``%filter`` sections of recipes of ``pydicom/deid``.

Conditions are as deid documents them: regular expressions and equality without regard to case, one of several values
has to fit, the tests of a line joined from left to right, then the lines. What differs, so that more is cleaned and not
less: deid takes ``||`` at the start of a line for ``+``; its ``keepcoordinates`` alone do nothing, here what lies
outside goes; what it does not understand it skips, here it is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword

from dicom_node.redaction.rule_conditions import And, Applies, Condition, Not, Operator, Or, Test
from dicom_node.redaction.rule_text import (
    FIRST_OF_A_DATA_SET,
    Mistake,
    RuleFile,
    area_of,
    check_pattern,
    four_numbers,
    sized,
)
from dicom_node.redaction.rules import ULTRASOUND_SEQUENCE, Area, Place, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECTIONS = ("filter", "header", "labels", "values", "fields")
_TESTS: dict[str, tuple[Operator, bool]] = {
    "contains": (Operator.HAS, True),
    "notcontains": (Operator.HAS, False),
    "equals": (Operator.IS, True),
    "notequals": (Operator.IS, False),
    "present": (Operator.PRESENT, True),
    "missing": (Operator.PRESENT, False),
    "empty": (Operator.EMPTY, True),
}
_COORDINATES = re.compile(r"(ctp)?(keep)?coordinates\s+(.*)", re.IGNORECASE)
_JOINT = re.compile(rf"\s*(\+|\|\|)\s*(?=(?:{'|'.join(_TESTS)})\s)", re.IGNORECASE)


@dataclass(slots=True)
class _Label:
    """A ``LABEL`` of a recipe while it is being read.

    ``steps`` are its coordinates in the order of the file, each with whether they are kept; ``alternatives`` the lines
    that begin with ``||``.
    """

    name: str
    line: int
    condition: Condition | None = None
    steps: list[tuple[bool, Area | Place]] = field(default_factory=list)
    alternatives: list[int] = field(default_factory=list)

    def add(self, text: str, line: int, said: list[str]) -> None:
        coordinates = _COORDINATES.fullmatch(text)
        if coordinates:
            self.steps.append((bool(coordinates[2]), _place(coordinates, line)))
            return
        joint = next((sign for sign in ("+", "||") if text.startswith(sign)), "")
        if joint == "||":
            self.alternatives.append(line)
        condition = _condition(text.removeprefix(joint).strip(), line, said)
        self.condition = _join(self.condition, joint, condition)

    def rules(self, name: str) -> Iterator[Rule]:
        """Make one rule of it, or two: ``from:`` is nothing at all for an image without that sequence."""
        if self.alternatives and any(kept for kept, _ in self.steps):
            msg = "where a label keeps something, || is allowed within a line only: deid takes it for + at its start"
            raise Mistake(self.alternatives[0], msg)
        fixed = [step for step in self.steps if step[1] is not Place.ULTRASOUND_REGIONS]
        if len(fixed) == len(self.steps):
            yield _rule(name, self.condition, fixed)
            return
        present = Test((ULTRASOUND_SEQUENCE,), Operator.PRESENT)
        yield _rule(name, _join(self.condition, "+", present), self.steps)
        if fixed:
            yield _rule(name, _join(self.condition, "+", Not(present)), fixed)


def read_recipe(text: str, name: str) -> RuleFile:
    """Read a recipe; raises :class:`Mistake`."""
    labels: list[_Label] = []
    said: list[str] = []
    section = ""
    for number, line in enumerate((raw.strip() for raw in text.splitlines()), 1):
        if not line or line.startswith("#"):
            continue
        if line.startswith("%"):
            section = _section(line, number, said)
        elif not section:
            _check_format(line, number)
        elif section == "filter":
            _read_filter_line(line, number, labels, said)
    if not labels:
        msg = "no label in a %filter section: the file has no rule"
        raise Mistake(1, msg)
    rules: list[Rule] = []
    for label in labels:
        if label.steps:
            rules += label.rules(f"{name}, line {label.line}: {label.name}")
        else:
            said.append(f"line {label.line}: the label {label.name!r} has no coordinates: nothing is done by it")
    return RuleFile(tuple(_in_order(rules)), tuple(f"{name}, {line}" for line in said))


def _read_filter_line(line: str, number: int, labels: list[_Label], said: list[str]) -> None:
    if re.match(r"label\b", line, re.IGNORECASE):
        labels.append(_Label(line[len("label") :].split("#", maxsplit=1)[0].strip() or "(no name)", number))
    elif labels:
        labels[-1].add(line, number, said)
    else:
        msg = "a filter begins with LABEL and its name"
        raise Mistake(number, msg)


def _section(line: str, number: int, said: list[str]) -> str:
    section = line[1:].split("#", maxsplit=1)[0].split()[:1]
    if not section or section[0].lower() not in _SECTIONS:
        msg = f"no such section; allowed are {', '.join('%' + name for name in _SECTIONS)}"
        raise Mistake(number, msg)
    if section[0].lower() != "filter":
        said.append(f"line {number}: the section %{section[0]} is not about pixels and is ignored")
    return section[0].lower()


def _check_format(line: str, number: int) -> None:
    if not re.fullmatch(r"format\s+dicom", line, re.IGNORECASE):
        msg = "a recipe begins with FORMAT dicom and %filter NAME; a script of CTP is a file named *.script"
        raise Mistake(number, msg)


def _rule(name: str, condition: Condition | None, steps: list[tuple[bool, Area | Place]]) -> Rule:
    """Make a rule of a label; what stands before the first that is kept lies outside of that, or is kept."""
    first = next((index for index, (kept, _) in enumerate(steps) if kept), 0)
    regions = tuple(place for kept, place in steps[first:] if not kept)
    keep = tuple(place for kept, place in steps if kept)
    others, rows, columns = sized(condition)
    return Rule(name, others, regions, keep, rows, columns)


def _in_order(rules: list[Rule]) -> Iterator[Rule]:
    """Let the later ``keepcoordinates`` of a recipe come before what stands above them, as in deid.

    Where a later label that keeps something is carried out, all that it does not keep goes: what an earlier label names
    is then either gone already or kept.
    """
    for index, rule in enumerate(rules):
        later = tuple(Applies(other) for other in rules[index + 1 :] if other.keep)
        condition = And((rule.condition, Not(Or(later)))) if later else rule.condition
        yield Rule(rule.name, condition, rule.regions, rule.keep, rule.rows, rule.columns)


def _place(coordinates: re.Match[str], line: int) -> Area | Place:
    """Read ``all``, ``from:SequenceOfUltrasoundRegions``, or numbers: xmin, ymin, xmax, ymax, or those of CTP."""
    text = coordinates[3].strip()
    named = next((place for place in Place if place.value.lower() == text.lower()), None)
    if named is not None:
        return named
    if text[:1].isalpha():
        msg = f"{text!r}: allowed are {', '.join(place.value for place in Place)} and four numbers"
        raise Mistake(line, msg)
    if coordinates[1]:
        return area_of(text, line)
    left, top, right, bottom = four_numbers(text, line)
    return area_of(f"{left},{top},{max(right - left, 0)},{max(bottom - top, 0)}", line)


def _condition(text: str, line: int, said: list[str]) -> Condition:
    """Read the tests of one line, which are joined from left to right before the lines are."""
    first, *rest = _JOINT.split(text)
    condition: Condition | None = _test(first, line, said)
    for joint, test in zip(rest[::2], rest[1::2], strict=True):
        condition = _join(condition, joint, _test(test, line, said))
    return condition or And()


def _join(left: Condition | None, joint: str, right: Condition) -> Condition:
    if left is None:
        return right
    if joint == "||":
        return Or((left, right))
    return And((*(left.conditions if isinstance(left, And) else (left,)), right))


def _test(text: str, line: int, said: list[str]) -> Condition:
    verb, attribute, value = (*text.split(None, 2), "", "", "")[:3]
    known = _TESTS.get(verb.lower())
    needs_value = known is not None and known[0] in {Operator.HAS, Operator.IS}
    if known is None or not attribute or bool(value) != needs_value:
        msg = (
            "not understood; allowed are contains, notcontains, equals, notequals with an attribute and a value; "
            "present, missing, empty with an attribute; coordinates, keepcoordinates, ctpcoordinates, "
            "ctpkeepcoordinates; + and || between tests"
        )
        raise Mistake(line, msg)
    operator, wanted = known
    if operator is Operator.HAS:
        check_pattern(value, line)
    test = Test(_attribute(attribute, line, said), operator, value.strip())
    return test if wanted else Not(test)


def _attribute(name: str, line: int, said: list[str]) -> tuple[int, ...]:
    """Find a tag. deid takes what is no keyword for an attribute that no image has: so do we, and say it."""
    tag = int(name, 16) if re.fullmatch("0x[0-9A-Fa-f]{8}", name) else tag_for_keyword(name)
    if tag is None or tag < FIRST_OF_A_DATA_SET:
        said.append(f"line {line}: {name!r} is no attribute of a data set (PS3.6): no image has it")
        return ()
    return (tag,)
