"""``dicom-node clean``: the same engine on a file or a folder tree, without a queue.

Each core has one process, and a file that kills its process (a codec's abort) is held and costs no other file anything.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from dicom_node import log
from dicom_node.errors import ConfigurationError, Hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO

    from dicom_node.model import Region
    from dicom_node.redaction import Policy, TextDetector
    from dicom_node.redaction.detect import Engine

HELD = "held"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a cleaning process needs to know."""

    policy: Policy
    engine: Engine


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one file; as JSON, one line of the report."""

    path: str
    sop_instance_uid: str | None
    outcome: str
    reason: str | None = None
    regions: list[dict[str, Any]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def clean_tree(source: Path, target: Path, settings: Settings, processes: int, done: Callable[[Report], None]) -> int:
    """Clean a file or every file below a folder.

    Parameters
    ----------
    source : Path
        A file, or a folder that is walked.
    target : Path
        A file for a file (or a folder that is there), a folder for a folder; made when it is missing.
    processes : int
        How many work at a time.
    done : callable
        Takes each report, from one thread at a time.

    Returns
    -------
    int
        The number of files that are held; they are not written.
    """
    work: queue.SimpleQueue[tuple[Path, Path]] = queue.SimpleQueue()
    pairs = list(_pairs(source, target))
    for pair in pairs:
        work.put(pair)
    held, lock = [0], threading.Lock()

    def report(one: Report) -> None:
        with lock:
            held[0] += one.outcome == HELD
            done(one)

    threads = [
        threading.Thread(target=_clean_from, args=(work, settings, report)) for _ in range(min(processes, len(pairs)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return held[0]


def count_files(source: Path) -> int:
    """Count what :func:`clean_tree` will look at."""
    return 1 if source.is_file() else sum(path.is_file() for path in source.rglob("*"))


def write_line(file: TextIO, report: Report) -> None:
    """Write one line of a report file."""
    file.write(json.dumps(asdict(report)) + "\n")
    file.flush()


def _pairs(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    if source.is_file():
        yield source, target / source.name if target.is_dir() else target
    else:
        yield from ((path, target / path.relative_to(source)) for path in sorted(source.rglob("*")) if path.is_file())


def _clean_from(
    work: queue.SimpleQueue[tuple[Path, Path]], settings: Settings, report: Callable[[Report], None]
) -> None:
    """Clean files until there are none, in one process that is started anew when a file has killed it."""
    pool = _pool(settings)
    while True:
        try:
            source, target = work.get_nowait()
        except queue.Empty:
            break
        try:
            report(pool.submit(_clean_in_process, source, target).result())
        except BrokenProcessPool:
            report(Report(str(source), None, HELD, "the process died on this file"))
            pool = _pool(settings)
    pool.shutdown()


def _pool(settings: Settings) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=_load, initargs=(settings,))


_loaded: list[tuple[Settings, TextDetector]] = []
"""In a cleaning process: what it cleans with."""


def _load(settings: Settings) -> None:
    from dicom_node.redaction.detect import make_detector  # noqa: PLC0415 - seconds to import, in this process alone
    from dicom_node.redaction.memory import keep_freed_memory  # noqa: PLC0415 - as above

    keep_freed_memory()
    log.configure("error")  # pydicom's warnings quote element values
    _loaded[:] = [(settings, make_detector(settings.engine))]


def _clean_in_process(source: Path, target: Path) -> Report:
    settings, detector = _loaded[0]
    return clean_file(source, target, settings.policy, detector)


def clean_file(source: Path, target: Path, policy: Policy, detector: TextDetector) -> Report:
    """Clean one file; what is held is not written.

    Returns
    -------
    Report
        Never raises for what is in the file.
    """
    from dicom_node.redaction import redact  # noqa: PLC0415 - as above
    from dicom_node.redaction.part10 import identity, read, write  # noqa: PLC0415

    started = time.monotonic()
    uid = None
    try:
        dataset = read(source)
        uid = identity(dataset).sop_instance_uid
        redaction = redact(dataset, policy, detector)
        _write_whole(target, lambda file: write(dataset, file))
    except Hold as hold:
        return Report(str(source), uid, HELD, str(hold), seconds={"total": _since(started)})
    except OSError as error:
        reason = f"cannot be read or written: {error.strerror}"
        return Report(str(source), uid, HELD, reason, seconds={"total": _since(started)})
    except Exception as error:  # noqa: BLE001 - whatever it was: the file is not known to be clean
        return Report(str(source), uid, HELD, f"unexpected: {type(error).__name__}", seconds={"total": _since(started)})
    return Report(
        str(source),
        uid,
        redaction.outcome.value,
        regions=[_as_json(region) for region in redaction.regions],
        actions=list(redaction.actions),
        seconds={**{k: round(v, 3) for k, v in redaction.seconds.items()}, "total": _since(started)},
    )


def _write_whole(target: Path, write: Callable[[Any], None]) -> None:
    """Write a file that is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _as_json(region: Region) -> dict[str, Any]:
    return {
        "left": region.column,
        "top": region.row,
        "width": region.width,
        "height": region.height,
        "frames": [region.first_frame, region.last_frame],
        "source": region.source,
        "kind": region.kind,
    }


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def check_paths(source: Path, target: Path) -> None:
    """Refuse what would overwrite or swallow the source.

    Raises
    ------
    ConfigurationError
        With the path that is wrong and what is allowed.
    """
    if not source.exists():
        msg = f"{source}: no such file or folder"
        raise ConfigurationError(msg)
    inner, outer = target.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        msg = f"{target}: has to be outside of {source}"
        raise ConfigurationError(msg)
    if source.is_dir() and target.exists() and not target.is_dir():
        msg = f"{target}: has to be a folder, as {source} is one"
        raise ConfigurationError(msg)
