"""From a route in the configuration to the policy that redaction carries out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from dicom_node.config import read_rule_items
from dicom_node.errors import ConfigurationError
from dicom_node.redaction import Policy
from dicom_node.redaction.rule_files import read_rules, rules_from

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dicom_node.config import Configuration, Redact, Route
    from dicom_node.redaction.rules import Rule

YAML_SUFFIXES = frozenset({".yaml", ".yml"})

log = structlog.get_logger()


def policies(configuration: Configuration) -> dict[str, Policy]:
    """Make the policy of every route that looks at pixels, by the route's name.

    Raises
    ------
    ConfigurationError
        When a rule file cannot be read or understood.
    """
    return {
        route.name: _policy(route, configuration.redact) for route in configuration.routes if route.policy != "pass"
    }


def load_rules(paths: Iterable[Path]) -> tuple[Rule, ...]:
    """Read rule files: our own in YAML, CTP scripts (``.script``), deid recipes.

    Raises
    ------
    ConfigurationError
        With file, line and what is allowed.
    """
    return tuple(rule for path in paths for rule in _load(path))


def _load(path: Path) -> tuple[Rule, ...]:
    if path.suffix in YAML_SUFFIXES:
        items = read_rule_items(path)
        try:
            return rules_from(items)
        except ConfigurationError as error:
            msg = f"{path}: {error}"
            raise ConfigurationError(msg) from None
    rule_file = read_rules(path)
    for said in rule_file.said:
        log.warning("rule file", path=path, reason=said)
    return rule_file.rules


def _policy(route: Route, redact: Redact) -> Policy:
    return Policy(
        name=route.policy,
        fill=redact.fill,
        rules=load_rules(route.rules),
        ultrasound_regions=route.ultrasound_regions,
        overlays=route.overlays,
        documents=route.documents,
        annotations=route.annotations,
        safe_text=route.safe_text,
        spacy_model=redact.spacy_model,
        second_look=route.strict if route.second_look is None else route.second_look,
    )
