"""A full disk and a full ledger: nothing is accepted, nothing claims to be, and what was there stays.

The file size limit (RLIMIT_FSIZE) stands for a full disk where nothing can be mounted; it is set in a process of its
own, because it cannot be taken back. This file is that process's program.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest
from sqlalchemy.exc import OperationalError

import dicom_node
from dicom_node.errors import SpoolFull
from dicom_node.model import Origin, SOPInstance
from dicom_node.queue import Accepted, Ledger, Queue, Sidecar, Spool
from dicom_node.queue.database import driver
from tests.support.disks import NotPermitted, full, read_only, tmpfs
from tests.support.spools import WholeFile, content, names

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTANCE = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")
ORIGIN = Origin("CT1", "NODE", "192.0.2.7", 1_700_000_000.0)


def new_queue(spool: Path, ledger: Path) -> Queue:
    queue = Queue(Spool(spool), Ledger(f"sqlite:///{ledger}"))
    queue.spool.prepare()
    queue.ledger.create()
    return queue


def files(queue: Queue) -> set[str]:
    return names(queue.spool)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB: as much as a write-ahead log takes before it begins anew."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(tmpfs(tmp_path / "small", 16 << 20))
        except NotPermitted as why:
            pytest.skip(f"no file system can be mounted here: {why}")


def test_a_full_spool_accepts_nothing_and_keeps_what_it_has(small_disk: Path, tmp_path: Path) -> None:
    queue = new_queue(small_disk / "spool", tmp_path / "ledger.db")
    first, _ = queue.accept(WholeFile(queue.spool.incoming / "first", b"first"), INSTANCE, ORIGIN)
    second = WholeFile(queue.spool.incoming / "second", b"second")
    with full(small_disk):
        with pytest.raises(SpoolFull):
            queue.accept(second, INSTANCE, ORIGIN)
        with pytest.raises(SpoolFull):
            queue.spool.write_redacted(first, 1, lambda file: file.write(b"clean"))
    assert files(queue) == {f"{first}.dcm", f"{first}.json", "second"}
    assert [each.entry.id for each in queue.ledger.entries()] == [first]
    queue.ledger.close()


def test_what_a_writer_makes_of_a_full_disk_is_still_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """As pydicom does: it raises another error, with a traceback in its message."""
    queue = new_queue(small_disk / "spool", tmp_path / "ledger.db")

    def write(file: BinaryIO) -> None:
        try:
            file.write(bytes(17 << 20))
        except Exception as error:
            msg = "With tag (7FE0,0010) got exception"
            raise RuntimeError(msg) from error

    with pytest.raises(SpoolFull, match=r"^the spool cannot be written: No space left on device$"):
        queue.spool.write_redacted("a" * 32, 1, write)
    assert files(queue) == set()
    queue.ledger.close()


def test_a_full_ledger_accepts_nothing_and_the_resend_is_processed_once(small_disk: Path, tmp_path: Path) -> None:
    queue = new_queue(tmp_path / "spool", small_disk / "ledger.db")
    incoming = queue.spool.incoming / "incoming"
    refused = 0
    with full(small_disk):
        for number in range(50):  # A few rows still fit into the pages that the ledger has.
            try:
                queue.accept(WholeFile(incoming, bytes([number])), INSTANCE, ORIGIN)
            except SpoolFull:
                refused += 1
    assert refused > 0
    assert queue.reconcile().inserted == refused
    for number in range(50):
        assert queue.accept(WholeFile(incoming, bytes([number])), INSTANCE, ORIGIN)[1] is Accepted.DUPLICATE
    contents = {content(queue.spool, f"{each.entry.id}.dcm") for each in queue.ledger.entries()}
    assert contents == {bytes([number]) for number in range(50)}
    queue.ledger.close()


def test_a_disk_that_the_ledger_itself_has_filled_is_written_again_once_nobody_reads(small_disk: Path) -> None:
    path = small_disk / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.create()

    def write(times: int) -> None:
        for _ in range(times):
            ledger.pause("destination")
            ledger.resume("destination")

    with closing(driver(f"sqlite:///{path}")["module"].connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM instance").fetchall()
        # What somebody reads cannot be taken over into the ledger: its log grows.
        with pytest.raises(OperationalError, match="full"):
            write(100_000)
    write(1)
    ledger.close()


def test_a_ledger_that_was_opened_while_its_disk_was_read_only_is_written_once_it_is_writable(small_disk: Path) -> None:
    path = small_disk / "ledger.db"
    before, ledger = Ledger(f"sqlite:///{path}"), Ledger(f"sqlite:///{path}")
    before.create()
    before.pause("destination")
    with read_only(small_disk), pytest.raises(OperationalError, match="readonly"):
        ledger.resume("destination")
    ledger.resume("destination")
    for each in (before, ledger):
        each.close()


def test_a_write_that_the_system_refuses_leaves_nothing_half(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(dicom_node.__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout.strip()) == (0, "SpoolFull"), run.stderr
    received = tmp_path / "spool" / "received"
    assert list(received.iterdir()) == []


def put_beyond_the_limit(root: Path) -> None:
    """Put an instance whose sidecar is larger than any file may be."""
    spool = Spool(root / "spool")
    spool.prepare()
    incoming = WholeFile(spool.incoming / "incoming", b"content")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
    try:
        spool.put(incoming, "a" * 32, Sidecar(INSTANCE, ORIGIN, "ab" * 32, 7))
    except SpoolFull as error:
        sys.stdout.write(type(error).__name__)


if __name__ == "__main__":
    put_beyond_the_limit(Path(sys.argv[1]))
