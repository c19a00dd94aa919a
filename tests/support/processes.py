"""Processes for the acceptance tests: started, waited for, found again and ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Result = TypeVar("_Result")

ROOT = Path(__file__).parents[2]
DEADLINE = 240.0
"""Seconds after which a test gives up; nothing is measured with it."""

_MARK = "DICOM_NODE_TEST"
_NOT_OURS = ("LOG_LEVEL", "DICOM_NODE_DATA_DIR")


def environment(mark: Path, python_path: Path | None = None) -> dict[str, str]:
    """Return the environment of a process, by which it and its children are found again.

    ``python_path`` comes before the repository's root, which makes the package importable without being installed.
    """
    ours = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    path = os.pathsep.join(str(folder) for folder in (python_path, ROOT) if folder)
    # Debian's dcmtk leaves Nagle's algorithm on, and asks this variable.
    return {**ours, "PYTHONPATH": path, "TCP_NODELAY": "1", _MARK: str(mark)}


_PORTS_OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_PORT = 10_000
_CHANCE = SystemRandom()
"""Not the one of a seed: processes that run tests side by side would all find the same."""


def free_port() -> int:
    """Find a port that nobody listens on, below those that the system gives to connections.

    One of those could be a connection's by the time that somebody listens on it.
    """
    first_of_connections = int(_PORTS_OF_CONNECTIONS.read_text(encoding="ascii").split()[0])
    while True:
        port = _CHANCE.randrange(_FIRST_PORT, first_of_connections)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def is_listening(port: int) -> bool:
    """Whether somebody answers on a port of this machine."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False


def wait_until(what: str, is_so: Callable[[], _Result], found: Callable[[], object] = str) -> _Result:
    """Wait for something, and return it once it is true; when it does not come the test fails with what it found."""
    deadline = time.monotonic() + DEADLINE
    while not (result := is_so()):
        if time.monotonic() > deadline:
            pytest.fail(f"did not happen: {what}; {found()}")
        time.sleep(0.05)
    return result


def wait_until_standing(pid: int) -> None:
    """Wait until a process that was sent SIGSTOP has stopped in all its threads: until then some still run."""
    threads = Path("/proc", str(pid), "task")

    def is_standing() -> bool:
        return all(path.read_text().rpartition(")")[2].split()[0] == "T" for path in threads.glob("*/stat"))

    wait_until("it stands still", is_standing)


def marked(mark: Path) -> dict[int, str]:
    """Find the processes that were started with :func:`environment` (and live): their ids and command lines."""
    return {pid: command for pid, variables, command in _processes() if f"{_MARK}={mark}" in variables}


def end_marked(mark: Path) -> None:
    """Kill every process that was started with :func:`environment` of the same mark."""
    for pid in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until("the processes are gone", lambda: not marked(mark))


def _processes() -> Iterator[tuple[int, list[str], str]]:
    for folder in Path("/proc").iterdir():
        # A process that ends meanwhile, or that has ended and was not waited for, has none of these files to read.
        with suppress(OSError):
            if folder.name.isdigit() and (variables := (folder / "environ").read_bytes()):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                yield int(folder.name), variables.decode(errors="replace").split("\0"), command.decode(errors="replace")
