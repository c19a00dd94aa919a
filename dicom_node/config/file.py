"""YAML, the environment and the command line to a configuration, or to words for what is wrong with them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from dicom_node.config.configuration import Configuration
from dicom_node.config.destinations import DestinationTLS, DicomDestination, FolderDestination
from dicom_node.config.node import Queue, Redact, Retention
from dicom_node.config.receive import Receive, ReceiveTLS
from dicom_node.config.routes import Route
from dicom_node.config.types import listed
from dicom_node.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path, **overrides: Any) -> Configuration:  # noqa: ANN401 - values as YAML or argv gives them
    """Read a configuration file.

    Parameters
    ----------
    path : Path
        The YAML file. Relative folders in it are relative to the working directory.
    **overrides
        ``data_dir``, ``port``, ``log_level``: what the command line said; ``None`` leaves the file's value. The
        environment's ``LOG_LEVEL`` and ``DICOM_NODE_DATA_DIR`` come between the two.

    Raises
    ------
    ConfigurationError
        With the file, each key that is wrong and what is allowed there.
    """
    content = _read(path)
    data_dir = overrides.get("data_dir") or os.environ.get("DICOM_NODE_DATA_DIR")
    log_level = overrides.get("log_level") or os.environ.get("LOG_LEVEL", "").lower()
    if data_dir:
        content["data_dir"] = data_dir
    if log_level:
        content["log_level"] = log_level
    if overrides.get("port") is not None:
        content["receive"] = {**(content.get("receive") or {}), "port": overrides["port"]}
    try:
        return Configuration.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(_explained(path, error)) from None


def read_rule_items(path: Path) -> list[Any]:
    """Read a file of rules in YAML; each rule is checked by redaction's own reader.

    Raises
    ------
    ConfigurationError
        When it cannot be read, is not YAML, or is not a list.
    """
    items = _parsed(path)
    if not isinstance(items, list):
        msg = f"{path}: has to be a list of rules"
        raise ConfigurationError(msg)
    return items


def _read(path: Path) -> dict[str, Any]:
    content = _parsed(path)
    if not isinstance(content, dict):
        msg = f"{path}: has to be a mapping with the keys {listed(Configuration.model_fields)}"
        raise ConfigurationError(msg)
    return content


def _parsed(path: Path) -> object:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ConfigurationError(msg) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        msg = f"{path}: is not YAML: {error}"
        raise ConfigurationError(msg) from None


def _explained(path: Path, error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        kinds = {"ae", "folder"} if "destinations" in problem["loc"] else set()
        key = ".".join(str(part) for part in problem["loc"] if part not in kinds) or "(the whole file)"
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            said = f"no such key; allowed are {listed(_fields_at(problem['loc'][:-1]))}"
        lines.append(f"{path}: {key}: {said}")
    return "\n".join(lines)


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """List the keys that are allowed where an unknown one was found."""
    sections: dict[str, type[BaseModel]] = {
        "receive": Receive,
        "queue": Queue,
        "retention": Retention,
        "redact": Redact,
        "routes": Route,
        "ae": DicomDestination,
        "folder": FolderDestination,
    }
    if location and location[-1] == "tls":
        return list((ReceiveTLS if "receive" in location else DestinationTLS).model_fields)
    for part in reversed(location):
        if part in sections:
            return list(sections[str(part)].model_fields)
    return list(Configuration.model_fields)
