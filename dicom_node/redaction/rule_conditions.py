"""Conditions of rules: what an image's attributes have to say, as a tree that can be evaluated."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items

from dicom_node.errors import Hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydicom import Dataset

    from dicom_node.redaction.rules import Rule

    Compare = Callable[[str, str], bool]
    CompareAll = Callable[[tuple[str, ...], str], bool]


class Operator(StrEnum):
    r"""How a :class:`Test` compares. Spaces around a value never count.

    The first group has the names and the meaning of CTP's script language: the values of an attribute are taken as one
    text, joined by ``\``, an absent attribute is an empty text, and case counts where the name does not say otherwise.
    ``MATCHES`` is a regular expression (Python's, not Java's) for the whole text. Of the second group one value has to
    fit, and an absent attribute fits nothing: ``HAS`` finds a regular expression anywhere, ``IS`` is equality, both
    without regard to case, as in ``pydicom/deid``; ``LIKE`` is a wildcard pattern with regard to case, and an absent
    attribute counts as empty, as in ``match`` of a route.
    """

    EQUALS = "equals"
    EQUALS_IGNORE_CASE = "equalsIgnoreCase"
    MATCHES = "matches"
    CONTAINS = "contains"
    CONTAINS_IGNORE_CASE = "containsIgnoreCase"
    STARTS_WITH = "startsWith"
    STARTS_WITH_IGNORE_CASE = "startsWithIgnoreCase"
    ENDS_WITH = "endsWith"
    ENDS_WITH_IGNORE_CASE = "endsWithIgnoreCase"
    IS_LESS_THAN = "isLessThan"
    IS_GREATER_THAN = "isGreaterThan"

    HAS = "has"
    IS = "is"
    LIKE = "like"
    PRESENT = "present"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Test:
    """A comparison of one attribute.

    Attributes
    ----------
    attribute : tuple of int
        Its tag; before it the tags of the sequences it stands in, of which the first item is meant. Without any tag it
        is an attribute that no instance has.
    """

    __test__ = False  # not one of pytest's

    attribute: tuple[int, ...]
    operator: Operator
    value: str = ""

    def holds(self, dataset: Dataset) -> bool:
        """Compare.

        Raises
        ------
        Hold
            When the attribute cannot be read, or is compared as a number and is none.
        """
        try:
            return _COMPARISONS[self.operator](_values(dataset, self.attribute), self.value)
        except Exception:  # noqa: BLE001 - whatever pydicom raises for bytes that do not fit their VR
            msg = f"a rule asks for {_named(self.attribute)}, which cannot be read or compared"
            raise Hold(msg) from None


@dataclass(frozen=True, slots=True)
class Not:
    """Holds when the other does not."""

    condition: Condition

    def holds(self, dataset: Dataset) -> bool:
        """Evaluate; raises what :meth:`Test.holds` raises."""
        return not self.condition.holds(dataset)


@dataclass(frozen=True, slots=True)
class And:
    """Holds when all do; without any it holds always."""

    conditions: tuple[Condition, ...] = ()

    def holds(self, dataset: Dataset) -> bool:
        """Evaluate; raises what :meth:`Test.holds` raises."""
        return all(condition.holds(dataset) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Or:
    """Holds when one does; without any it never holds."""

    conditions: tuple[Condition, ...] = ()

    def holds(self, dataset: Dataset) -> bool:
        """Evaluate; raises what :meth:`Test.holds` raises."""
        return any(condition.holds(dataset) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Applies:
    """Holds when a rule is carried out on the image."""

    rule: Rule

    def holds(self, dataset: Dataset) -> bool:
        """Evaluate; raises what :meth:`Test.holds` raises."""
        return self.rule.applies(dataset)


Condition: TypeAlias = Test | Not | And | Or | Applies


def _values(dataset: Dataset, attribute: tuple[int, ...]) -> tuple[str, ...]:
    """Read the values of an attribute as texts: none when it is absent, one empty text when it has no value."""
    for tag in attribute[:-1]:
        if tag not in dataset or not dataset[tag].value:
            return ()
        dataset = dataset[tag].value[0]
    if not attribute or attribute[-1] not in dataset:
        return ()
    value = dataset[attribute[-1]].value
    several = value if isinstance(value, (MultiValue, list)) and not isinstance(value, Items) else [value]
    return tuple(_text(single) for single in several) or ("",)


def _text(value: object) -> str:
    if value is None or (isinstance(value, Items) and not value):
        return ""
    if isinstance(value, bytes):  # an attribute that pydicom has no VR for
        return value.decode("latin-1").strip("\0 ")
    return "(items)" if isinstance(value, Items) else str(value).strip()


def _named(attribute: tuple[int, ...]) -> str:
    return keyword_for_tag(attribute[-1]) or f"({attribute[-1] >> 16:04X},{attribute[-1] & 0xFFFF:04X})"


def _lower(compare: Compare) -> Compare:
    return lambda value, wanted: compare(value.lower(), wanted.lower())


def _joined(compare: Compare) -> CompareAll:
    return lambda values, wanted: compare("\\".join(values), wanted)


def _number(compare: Callable[[float, float], bool]) -> Compare:
    """Compare as numbers; no value is neither less nor greater."""

    def as_numbers(value: str, wanted: str) -> bool:
        number = float(value or "nan")
        if value and not math.isfinite(number):
            raise ValueError
        return compare(number, float(wanted))

    return as_numbers


def _one_of(compare: Compare) -> CompareAll:
    return lambda values, wanted: any(compare(value, wanted) for value in values)


_COMPARISONS: dict[Operator, CompareAll] = {
    Operator.EQUALS: _joined(operator.eq),
    Operator.EQUALS_IGNORE_CASE: _joined(_lower(operator.eq)),
    Operator.MATCHES: _joined(lambda value, wanted: re.fullmatch(wanted, value) is not None),
    Operator.CONTAINS: _joined(operator.contains),
    Operator.CONTAINS_IGNORE_CASE: _joined(_lower(operator.contains)),
    Operator.STARTS_WITH: _joined(str.startswith),
    Operator.STARTS_WITH_IGNORE_CASE: _joined(_lower(str.startswith)),
    Operator.ENDS_WITH: _joined(str.endswith),
    Operator.ENDS_WITH_IGNORE_CASE: _joined(_lower(str.endswith)),
    Operator.IS_LESS_THAN: _joined(_number(operator.lt)),
    Operator.IS_GREATER_THAN: _joined(_number(operator.gt)),
    Operator.HAS: _one_of(lambda value, wanted: re.search(wanted, value, re.IGNORECASE) is not None),
    Operator.IS: _one_of(_lower(operator.eq)),
    Operator.LIKE: lambda values, wanted: any(fnmatchcase(value, wanted) for value in values or ("",)),
    Operator.PRESENT: lambda values, _: bool(values),
    Operator.EMPTY: lambda values, _: values == ("",),
}
