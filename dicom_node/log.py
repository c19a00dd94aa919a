"""Structured logs on stderr that no element value can reach.

Every line passes one gate: only the fields of :data:`FIELDS` go out, only as plain values, and what was dropped is
named in ``dropped``. An exception becomes its class name and the places it went through, without its message. What
other libraries log or warn of becomes a place in their code: pydicom and pynetdicom put element values into their
words. The event itself has to be a literal in the source (a test of the architecture holds that).
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import warnings
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from structlog.typing import EventDict, Processor

FIELDS = frozenset(
    # of the line
    {"event", "level", "timestamp", "logger", "at", "error", "traceback", "dropped"}
    # of the node
    | {"role", "pid", "version", "exit_code", "signal", "engine", "ae_title", "host", "port", "path", "states"}
    # of the work
    | {"entry_id", "stage", "action", "status", "reason", "outcome", "route", "policy", "destination", "peer"}
    # numbers
    | {"regions", "bytes", "frames", "seconds", "attempts", "failures", "count"},
)
"""What a log line may say. A field that could hold an element value has no place here."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
_LEVELS = {"warn": "warning", "exception": "error"}
"""Methods of a logger that are not named as their level is."""

_log: Any = structlog.get_logger()


def configure(level: str, console: bool | None = None, role: str | None = None) -> None:  # noqa: FBT001 - passed by name
    """Set up the logs of this process; call it first in every process.

    Parameters
    ----------
    level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    console : bool, optional
        Lines for reading instead of JSON lines; when not given, on a terminal only.
    role : str, optional
        What this process does; it stands on every line.
    """
    if console is None:
        console = sys.stderr.isatty()
    renderer: Processor = structlog.dev.ConsoleRenderer() if console else _to_json
    structlog.configure(
        processors=[partial(_line, {"role": role} if role else {}), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    _take_over_libraries()


def _line(begin: Mapping[str, str], _logger: object, method: str, event_dict: EventDict) -> EventDict:
    """Make the line of an event: one step, as every instance that comes has a line.

    ``begin`` names the role on the lines of every thread: context variables are a thread's own.
    """
    raised = _raised(event_dict.pop("exc_info", None))
    level, timestamp = _LEVELS.get(method, method), datetime.now(UTC).isoformat().replace("+00:00", "Z")
    line = {**begin, **event_dict, "level": level, "timestamp": timestamp}
    if raised is not None:
        line |= {"error": type(raised).__name__, "traceback": list(_places(raised))}
    return _only_allowed(line)


def _only_allowed(event_dict: EventDict) -> EventDict:
    """Drop each field that is not allowed or not plain, and say so by its name."""
    kept: EventDict = {}
    dropped = []
    for name, value in event_dict.items():
        try:
            kept[name] = _allowed(name, value)
        except _NotAllowed:
            dropped.append(name)
    return {**kept, "dropped": sorted(dropped)} if dropped else kept


def _to_json(_logger: object, _method: str, event_dict: EventDict) -> str:
    """Write a line: with only plain values in it, as they are here, an encoder needs not be made for each."""
    return json.dumps(event_dict)


class _NotAllowed(Exception):  # noqa: N818 - never leaves this module
    """The field is dropped."""


def _allowed(name: str, value: object) -> object:
    if name not in FIELDS:
        raise _NotAllowed
    return _plain(value)


def _plain(value: object) -> object:
    """Return the value as JSON has it.

    The type has to be exactly a plain one: pydicom's UID, DSfloat and IS are strings and numbers by inheritance.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, BaseException):
        return type(value).__name__
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    raise _NotAllowed


def _raised(exc_info: object) -> BaseException | None:
    """Return the exception that ``exc_info`` of a log call means."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return _raised(exc_info[1])
    return sys.exc_info()[1] if exc_info else None


def _places(raised: BaseException) -> Iterator[str]:
    """Walk an exception and what caused it, the cause first: frames, then the class name."""
    cause = raised.__cause__ or (None if raised.__suppress_context__ else raised.__context__)
    if cause is not None:
        yield from _places(cause)
    trace: TracebackType | None = raised.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        yield f"{frame.f_globals.get('__name__')}:{trace.tb_lineno}:{frame.f_code.co_name}"
        trace = trace.tb_next
    yield type(raised).__name__


def _place_only(*arguments: Any, **named: Any) -> logging.LogRecord:  # noqa: ANN401 - those of logging.LogRecord
    """Make a record without words: no handler that a library may have added, now or later, has any to print."""
    record = logging.LogRecord(*arguments, **named)
    record.raised = _raised(record.exc_info)
    record.msg, record.args, record.exc_info, record.stack_info = "a library logged", (), None, None
    return record


class _ToStructlog(logging.Handler):
    """Says that a library logged something, and where, not what; quietly below an error: odd files are daily bread."""

    def emit(self, record: logging.LogRecord) -> None:
        say = _log.error if record.levelno >= logging.ERROR else _log.debug
        place = f"{record.module}:{record.lineno}:{record.funcName}"
        say("a library logged", logger=record.name, at=place, exc_info=getattr(record, "raised", None))


def _take_over_libraries() -> None:
    """Send what this package does not log itself through the same gate: loggers, warnings, uncaught exceptions."""
    logging.setLogRecordFactory(_place_only)
    logging.root.handlers = [_ToStructlog()]
    logging.root.setLevel(logging.WARNING)
    warnings.showwarning = _show_warning
    # Otherwise Python keeps the words of every warning it has shown, and pydicom's differ from instance to instance.
    warnings.filterwarnings("always", module="pydicom")
    sys.excepthook = lambda _type, raised, _trace: _uncaught(raised)
    sys.unraisablehook = lambda unraisable: _uncaught(unraisable.exc_value)
    threading.excepthook = lambda arguments: _uncaught(arguments.exc_value)


def _show_warning(  # noqa: PLR0917 - the signature is that of warnings.showwarning
    message: Warning | str,  # noqa: ARG001 - it may carry an element value
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - it always goes to the log
    line: str | None = None,  # noqa: ARG001 - a source line says no more than its number
) -> None:
    """Say that a library warned, and where, not of what."""
    place = "/".join(Path(filename).parts[-2:])
    _log.debug("a library warned", error=category.__name__, at=f"{place}:{lineno}")


def _uncaught(raised: BaseException | None) -> None:
    if not isinstance(raised, SystemExit):
        _log.critical("uncaught exception", exc_info=raised)
