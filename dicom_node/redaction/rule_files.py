"""Readers of rule files: what people have already, and our own YAML.

Whatever is not understood is an error with its line; what is understood and not carried out is said. Where an original
would clean less than its text lets a reader expect, more is cleaned here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.datadict import tag_for_keyword

from dicom_node.errors import ConfigurationError
from dicom_node.redaction.rule_conditions import And, Condition, Operator, Or, Test
from dicom_node.redaction.rule_recipe import read_recipe
from dicom_node.redaction.rule_script import read_script
from dicom_node.redaction.rule_text import AREA_KEYS, Mistake, RuleFile
from dicom_node.redaction.rules import Area, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["RuleFile", "read_rules", "rules_from"]

OWN_KEYS = ("name", "match", "rows", "columns", "regions", "keep")


def read_rules(path: Path) -> RuleFile:
    """Read a rule file that people have already.

    Parameters
    ----------
    path : Path
        ``*.script``: the script of CTP's DicomPixelAnonymizer, all of whose signatures count, not only the first that
        holds. Anything else: a recipe of ``pydicom/deid``, of which the ``%filter`` sections count.

    Raises
    ------
    ConfigurationError
        With the file, the line and what is allowed there.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return read_script(text, path.name) if path.suffix == ".script" else read_recipe(text, path.name)
    except Mistake as mistake:
        msg = f"{path}: {mistake}"
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        msg = f"{path}: is not UTF-8"
    raise ConfigurationError(msg)


def rules_from(items: Iterable[Mapping[str, object]]) -> tuple[Rule, ...]:
    """Make rules of our own YAML, as parsed.

    Parameters
    ----------
    items : iterable of mapping
        ``name``; ``match``: attribute keywords (PS3.6) with a wildcard pattern or a list of them, of which one has to
        fit, case counts, an absent attribute fits ``*`` only; ``rows`` and ``columns`` in pixels; ``regions`` and
        ``keep``: lists of ``left``, ``top``, ``width``, ``height`` in pixels.

    Raises
    ------
    ConfigurationError
        With the rule, the key and what is allowed there.
    """
    rules = []
    for number, item in enumerate(items, 1):
        try:
            rules.append(_own_rule(item))
        except ValueError as error:
            named = f" {item['name']!r}" if isinstance(item, dict) and isinstance(item.get("name"), str) else ""
            msg = f"rules: rule {number}{named}: {error}"
            raise ConfigurationError(msg) from None
    return tuple(rules)


def _own_rule(item: Mapping[str, object]) -> Rule:
    _check_keys(item, OWN_KEYS)
    name, match = item.get("name"), item.get("match", {})
    if not isinstance(name, str) or not name.strip():
        msg = "name: has to be a text"
        raise ValueError(msg)
    if not isinstance(match, dict) or not (match or "rows" in item or "columns" in item):
        msg = "match: has to be a mapping of attribute keywords to patterns; without it, rows or columns are needed"
        raise ValueError(msg)
    rule = Rule(
        name=name,
        condition=And(tuple(_own_test(keyword, patterns) for keyword, patterns in match.items())),
        regions=_own_areas(item, "regions"),
        keep=_own_areas(item, "keep"),
        rows=_own_number(item, "rows", 1) if "rows" in item else None,
        columns=_own_number(item, "columns", 1) if "columns" in item else None,
    )
    if not rule.regions and not rule.keep:
        msg = "regions or keep is needed: nothing would be cleaned"
        raise ValueError(msg)
    return rule


def _check_keys(item: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(item, dict) or not set(item) <= set(allowed):
        msg = f"has to be a mapping with keys out of {', '.join(allowed)}"
        raise ValueError(msg)


def _own_test(keyword: object, patterns: object) -> Condition:
    tag = tag_for_keyword(keyword) if isinstance(keyword, str) else None
    if tag is None:
        msg = f"match: {keyword!r} is no attribute keyword of PS3.6"
        raise ValueError(msg)
    several = patterns if isinstance(patterns, list) and patterns else [patterns]
    if not all(isinstance(pattern, (str, int, float)) and not isinstance(pattern, bool) for pattern in several):
        msg = f"match: {keyword}: has to be a text or a list of texts"
        raise ValueError(msg)
    return Or(tuple(Test((tag,), Operator.LIKE, str(pattern)) for pattern in several))


def _own_areas(item: Mapping[str, object], key: str) -> tuple[Area, ...]:
    areas = item.get(key, [])
    if not isinstance(areas, list) or (key in item and not areas):
        msg = f"{key}: has to be a list of mappings with {', '.join(AREA_KEYS)}"
        raise ValueError(msg)
    return tuple(_own_area(area, key) for area in areas)


def _own_area(area: Mapping[str, object], key: str) -> Area:
    try:
        _check_keys(area, AREA_KEYS)
        left, top = (_own_number(area, name, 0) for name in ("left", "top"))
        width, height = (_own_number(area, name, 1) for name in ("width", "height"))
    except ValueError as error:
        msg = f"{key}: {error}"
        raise ValueError(msg) from None
    return Area(top, left, height, width)


def _own_number(item: Mapping[str, object], key: str, least: int) -> int:
    number = item.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        msg = f"{key}: has to be a whole number of pixels, at least {least}"
        raise ValueError(msg)
    return number
