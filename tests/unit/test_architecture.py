"""The import table of the design, as data: who may import whom, and who alone owns what.

Where does my change go? Name the noun and find its room. A change that needs a new line here is a decision: write it
down in docs/decisions.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dicom_node.log import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[2] / "dicom_node"

CORE = {"model", "errors"}
MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "errors": set(),
    "log": set(),
    "config": CORE,
    "tls": CORE | {"config"},
    "listener": CORE | {"config"},
    "queue": CORE,
    "redaction": CORE,
    "folder": CORE,
    "storage_commitment": CORE,
    "storage_scp": CORE | {"queue", "config", "tls", "listener", "storage_commitment"},
    "storage_scu": CORE | {"tls", "storage_commitment"},
    "routes": CORE | {"config"},
    "destinations": CORE | {"config", "folder", "storage_scu", "tls"},
    "policies": CORE | {"config", "redaction"},
    "stages": CORE | {"redaction", "routes", "destinations", "queue", "config"},
    "worker": CORE | {"queue", "stages", "destinations", "storage_commitment", "storage_scu"},
    "clean": CORE | {"redaction", "log"},
    "roles": CORE
    | {"config", "queue", "redaction", "storage_scp", "destinations", "routes", "policies", "stages", "worker", "log"}
    | {"node", "listener"},
    "web": {"queue", "redaction", "model"},
    "node": CORE | {"config", "queue", "worker", "listener"},
    "cli": CORE | {"node", "config", "queue", "redaction", "clean", "destinations", "policies", "demo", "log", "tls"},
    "__main__": {"cli"},
}
"""Room: the other rooms of this package that it may import. ``demo`` plays a whole hospital and may import anything."""

OWNERS: dict[str, set[str]] = {
    "pynetdicom": {"storage_scp", "storage_scu"},
    "alembic": {"queue"},
    "sqlalchemy": {"queue"},
    "sqlite3": {"queue"},
    "pysqlite3": {"queue"},
    "obstore": {"queue"},
    "yaml": {"config"},
    "pydantic": {"config"},
    "numpy": {"redaction"},
    "cv2": {"redaction"},
    "imagecodecs": {"redaction"},
    "onnxruntime": {"redaction"},
    "presidio_analyzer": {"redaction"},
    "presidio_image_redactor": {"redaction"},
    "pytesseract": {"redaction"},
    "rapidocr": {"redaction"},
    "zxingcpp": {"redaction"},
    "http": {"web"},
    "ssl": {"tls"},
    # To silence pynetdicom's own, which writes element values.
    "logging": {"log", "storage_scp", "storage_scu"},
    "multiprocessing": {"clean"},
    "subprocess": {"node"},
    "signal": {"node", "roles"},
}
"""Module from elsewhere: the rooms that alone import it."""

FREE = "demo"
LOGGERS = {"log", "_log", "logger", "_logger"}
LOG_METHODS = {"debug", "info", "warning", "error", "critical", "exception"}

SOURCES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path, package: Path) -> str:
    """Return the room of a file: its folder or stem; ``storage_scp_header.py`` is of the room ``storage_scp``."""
    name = path.relative_to(package).parts[0].removesuffix(".py")
    return next((room for room in MAY_IMPORT if name.startswith(f"{room}_")), name)


def imported(path: Path, package: Path) -> Iterator[str]:
    """Walk the full names of all imports of a file, wherever in it they stand."""
    here = ["dicom_node", *path.relative_to(package).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path, package: Path) -> set[str]:
    """Return the other rooms that a file imports; a name out of ``dicom_node/__init__.py`` is no room."""
    parts = [name.split(".") for name in imported(path, package)]
    named = {part[1] for part in parts if part[0] == "dicom_node" and len(part) > 1}
    paths = {package / name for name in named}
    rooms = {room_of(path, package) for path in paths if path.is_dir() or path.with_suffix(".py").is_file()}
    return rooms - {room_of(path, package)}


def offences(path: Path, package: Path) -> set[str]:
    """Return what a file imports against the tables."""
    room = room_of(path, package)
    if room == FREE:
        return set()
    others = {name.split(".")[0] for name in imported(path, package)}
    owned = {name for name in others if room not in OWNERS.get(name, {room})}
    return owned | {f"dicom_node.{name}" for name in rooms_imported(path, package) - MAY_IMPORT.get(room, set())}


def log_calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)):
                if name in LOGGERS and method in LOG_METHODS | {"bind"}:
                    yield node


def told(call: ast.Call) -> list[str]:
    """Return what in a log call could carry a value: an event that is no literal, fields that are not allowed."""
    literal = [isinstance(argument, ast.Constant) for argument in call.args]
    # ``**fields`` is for the gate at run time: log.py drops and names what is not allowed.
    fields = {keyword.arg for keyword in call.keywords if keyword.arg}
    wrong = [] if literal in ([True], []) else ["the event"]
    return wrong + sorted(fields - FIELDS - {"exc_info"})


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_module_has_a_room_in_the_table() -> None:
    rooms = {room_of(path, PACKAGE) for path in SOURCES}
    assert rooms - {"__init__", FREE} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    assert offences(path, PACKAGE) == set()


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_log_call_says_a_literal_and_allowed_fields_only(path: Path) -> None:
    assert [(call.lineno, told(call)) for call in log_calls(path) if told(call)] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if room_of(path, PACKAGE) != "config"], ids=named)
def test_only_config_reads_the_environment(path: Path) -> None:
    names = {getattr(node, "attr", None) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}
    assert not names & {"environ", "getenv"}
    assert not {"os.environ", "os.getenv"} & set(imported(path, PACKAGE))


@pytest.mark.parametrize(
    ("file", "source", "offence"),
    [
        ("queue/spool.py", "from dicom_node import redaction", "dicom_node.redaction"),
        ("queue/spool.py", "from dicom_node.redaction.fill import paint", "dicom_node.redaction"),
        ("queue/spool.py", "from ..redaction import fill", "dicom_node.redaction"),
        ("queue/spool.py", "from .. import redaction", "dicom_node.redaction"),
        ("queue/spool.py", "def late():\n    import dicom_node.redaction.fill", "dicom_node.redaction"),
        ("worker.py", "from pynetdicom import AE", "pynetdicom"),
        ("worker.py", "from .queue import spool\nimport sqlalchemy.orm", "sqlalchemy"),
    ],
)
def test_the_walk_finds_an_import_that_is_not_allowed(tmp_path: Path, file: str, source: str, offence: str) -> None:
    for name in ("queue", "redaction"):
        (tmp_path / name).mkdir()
    path = tmp_path / file
    path.write_text(source, encoding="utf-8")
    assert offences(path, tmp_path) == {offence}


@pytest.mark.parametrize(
    "source",
    ["log.info(f'{name} came')", "log.info('%s came', name)", "log.info('came', patient=name)", "_log.warning(name)"],
)
def test_the_walk_finds_a_log_call_that_could_carry_a_value(tmp_path: Path, source: str) -> None:
    path = tmp_path / "worker.py"
    path.write_text(source, encoding="utf-8")
    (call,) = log_calls(path)
    assert told(call)
