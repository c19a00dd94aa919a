"""Processes that write to a ledger in SQLite, one after the other."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing
from pathlib import Path

import pytest

import dicom_node
from dicom_node.model import Origin, QueueEntry, SOPInstance, State
from dicom_node.queue import Accepted, Ledger

INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
ENTRY = QueueEntry("a" * 32, INSTANCE, Origin("CT1", "NODE", "192.0.2.7", 1.0), State.RECEIVED, "ab" * 32, 7)


def writing(url: str) -> subprocess.Popen[bytes]:
    """Start a process that is in the middle of a transaction, for as long as its input is open."""
    environment = {**os.environ, "PYTHONPATH": str(Path(dicom_node.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, __file__, url], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    return process


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_write_waits_for_that_of_another_process_and_goes_on_when_it_ends_or_is_killed(
    tmp_path: Path, *, is_killed: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(Ledger(url)) as ledger, ThreadPoolExecutor(1) as thread:
        ledger.create()
        process = writing(url)
        accepted = thread.submit(ledger.accept, ENTRY)
        with pytest.raises(NotYet):
            accepted.result(timeout=0.3)
        assert ledger.entries() == []  # who only reads waits for nobody
        if is_killed:
            process.kill()
        process.communicate()
        assert accepted.result(timeout=60) is Accepted.NEW


def write_until_told(url: str) -> None:
    """Be in a transaction until there is nothing more to read."""
    with closing(Ledger(url)) as ledger:
        ledger._write(lambda _: (sys.stdout.write("in\n"), sys.stdout.flush(), sys.stdin.read()))  # noqa: SLF001 - a transaction that lasts


if __name__ == "__main__":
    write_until_told(sys.argv[1])
