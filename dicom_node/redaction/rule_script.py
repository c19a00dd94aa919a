"""Reader of the script of CTP's DicomPixelAnonymizer.

The language is that of the RSNA's documentation: ``{ signature } (left, top, width, height) ...``, where a signature
has terms ``Attribute.method("text")``, ``!`` before ``*`` before ``+``, and parentheses. What differs: CTP stops at the
first signature that holds, here all count; CTP takes a signature that it does not understand for one that never holds,
here it is an error; numbers are compared as they are, where CTP leaves out everything but digits and points.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from pydicom.datadict import tag_for_keyword

from dicom_node.redaction.rule_conditions import And, Condition, Not, Operator, Or, Test
from dicom_node.redaction.rule_text import FIRST_OF_A_DATA_SET, Mistake, RuleFile, area_of, check_pattern, sized
from dicom_node.redaction.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicom_node.redaction.rules import Area

_METHODS = tuple(Operator)[: tuple(Operator).index(Operator.HAS)]
_SIGNATURE = re.compile(r"\{([^}]*)\}")
_REGION = re.compile(r"\(([^)]*)\)")
_IDENTIFIER = r"(?:\[[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\]|\([0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)|[A-Za-z]\w*)"
_TOKEN = re.compile(
    rf"""(?P<nothing>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<test>(?P<attribute>{_IDENTIFIER}(?:::{_IDENTIFIER})*)\s*\.\s*(?P<method>\w+)\s*\(\s*"(?P<value>[^"]*)"\s*\))
    |(?P<constant>true|false)\.
    |(?P<symbol>[!*+()])""",
    re.VERBOSE | re.DOTALL,
)


def read_script(text: str, name: str) -> RuleFile:
    """Read a script, of which all text outside of braces and parentheses is commentary; raises :class:`Mistake`."""
    signatures = list(_SIGNATURE.finditer(text))
    starts = [0, *(signature.end() for signature in signatures)]
    ends = [*(signature.start() for signature in signatures), len(text)]
    between = [list(_script_areas(text, start, end)) for start, end in zip(starts, ends, strict=True)]
    if not signatures or between[0]:
        msg = "regions need a signature before them: { signature } (left, top, width, height) ..."
        raise Mistake(1, msg)
    rules, said = [], []
    for signature, areas in zip(signatures, between[1:], strict=True):
        line = _line(text, signature.start())
        condition, rows, columns = sized(_Script(text, signature.start(1), signature.end(1)).condition())
        if areas:
            rules.append(Rule(f"{name}, line {line}", condition, tuple(areas), rows=rows, columns=columns))
        else:
            said.append(f"{name}, line {line}: a signature without regions spares nothing: text is looked for anyway")
    return RuleFile(tuple(rules), tuple(said))


def _script_areas(text: str, start: int, end: int) -> Iterator[Area]:
    """Read the regions between two signatures."""
    without = _REGION.sub(lambda region: f" {region[1]} ", text[start:end])
    stray = re.search(r"[{}()]", without)
    if stray:
        msg = "a bracket without its other half; comments may not have braces or parentheses"
        raise Mistake(_line(text, start + stray.start()), msg)
    for region in _REGION.finditer(text, start, end):
        yield area_of(region[1], _line(text, region.start()))


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


class _Script:
    """A signature of CTP's script language: terms with ``!`` before ``*`` before ``+``, and parentheses."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text = text
        self._end = end
        self._next = start
        self._token: re.Match[str] | None = None
        self._advance()

    def condition(self) -> Condition:
        condition = self._sum()
        if self._token is not None:
            self._expected("an operator or the end of the signature")
        return condition

    def _sum(self) -> Condition:
        products = [self._product()]
        while self._took("+"):
            products.append(self._product())
        return products[0] if len(products) == 1 else Or(tuple(products))

    def _product(self) -> Condition:
        factors = [self._factor()]
        while self._took("*"):
            factors.append(self._factor())
        return factors[0] if len(factors) == 1 else And(tuple(factors))

    def _factor(self) -> Condition:
        if self._took("!"):
            return Not(self._factor())
        if self._took("("):
            condition = self._sum()
            if not self._took(")"):
                self._expected("a closing parenthesis")
            return condition
        token = self._token
        if token is None or token["symbol"]:
            self._expected("a term")
        condition = _constant(token) if token["constant"] else _test(token, _line(self._text, token.start()))
        self._advance()
        return condition

    def _took(self, symbol: str) -> bool:
        if self._token is None or self._token["symbol"] != symbol:
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        self._token = None
        while self._next < self._end and self._token is None:
            token = _TOKEN.match(self._text, self._next, self._end)
            if token is None:
                self._expected("a term or an operator")
            self._next = token.end()
            self._token = None if token["nothing"] else token

    def _expected(self, what: str) -> NoReturn:
        position = self._token.start() if self._token else self._next
        terms = f'true., false. or Attribute.method("text") with a keyword or [gggg,eeee] and {", ".join(_METHODS)}'
        msg = f"{what} is expected; terms are {terms}; operators are ! * + ( )"
        raise Mistake(_line(self._text, position), msg)


def _constant(token: re.Match[str]) -> Condition:
    return And() if token["constant"] == "true" else Or()


def _test(token: re.Match[str], line: int) -> Test:
    if token["method"] not in _METHODS:
        msg = f"no method {token['method']!r}; allowed are {', '.join(_METHODS)}"
        raise Mistake(line, msg)
    operator, value = Operator(token["method"]), token["value"]
    if operator is Operator.MATCHES:
        check_pattern(value, line)
    if operator in {Operator.IS_LESS_THAN, Operator.IS_GREATER_THAN}:
        _check_number(value, line)
    names = re.findall(_IDENTIFIER, token["attribute"])
    return Test(tuple(_tag(name, line) for name in names), operator, value)


def _tag(name: str, line: int) -> int:
    tag = int(name[1:5] + name[6:10], 16) if name[0] in "[(" else tag_for_keyword(name)
    if tag is None or tag < FIRST_OF_A_DATA_SET:
        msg = f"{name!r} is no attribute of a data set (PS3.6): a keyword or [gggg,eeee] is allowed"
        raise Mistake(line, msg)
    return tag


def _check_number(value: str, line: int) -> None:
    if not re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", value):
        msg = f"{value!r} is no number"
        raise Mistake(line, msg)
