"""Several processes on one spool and one ledger, some of which are killed.

This file is also the program of those processes: ``python test_queue_processes.py <what> <directory> <spool> <ledger>
<name>``.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dicom_node
from dicom_node.model import Origin, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Accepted, Ledger, Queue
from tests.support.ledgers import empty
from tests.support.spools import WholeFile, content, make_spool, names

LEASE = 600.0
ORIGIN = Origin("CT1", "NODE", "192.0.2.7", 1_700_000_000.0)
JOBS = 60

everywhere = pytest.mark.parametrize(
    ("spool_url", "ledger_url"),
    [("directory", "sqlite"), ("directory", "postgresql"), ("s3", "postgresql")],
    indirect=True,
)
"""One machine; several with a directory they share; several with a store."""


def new_queue(root: Path, spool_url: str, ledger_url: str) -> Queue:
    queue = Queue(make_spool(spool_url, root), Ledger(ledger_url))
    queue.ledger.create()
    return queue


def instance(number: str) -> SOPInstance:
    return SOPInstance("1.2.840.10008.5.1.4.1.1.2", f"1.2.3.{number}", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")


def content_of(number: str) -> bytes:
    return hashlib.sha256(number.encode()).digest() * 500


def accept(queue: Queue, name: str, number: str) -> tuple[str, Accepted]:
    incoming = WholeFile(queue.spool.incoming / name, content_of(number))
    return queue.accept(incoming, instance(number), ORIGIN)


def start(what: str, root: Path, spool_url: str, ledger_url: str, name: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(dicom_node.__file__).parents[1])}
    program = [sys.executable, __file__, what, str(root), spool_url, ledger_url, name]
    return subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    """Read the whole lines that a process wrote until it ended: the last may be torn when it was killed."""
    assert process.stdout is not None
    output = process.stdout.read()
    process.stdout.close()
    process.wait()
    return [line.rstrip("\n") for line in output.splitlines(keepends=True) if line.endswith("\n")]


# The programs


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def receive_for_ever(queue: Queue, name: str) -> None:
    """Accept one instance after the other, and acknowledge each."""
    number = 0
    while True:
        number += 1
        entry_id, accepted = accept(queue, name, f"{name}.{number}")
        say(f"{entry_id} {name}.{number} {accepted}")


def redact_and_send(queue: Queue, name: str) -> None:
    """Work until nothing is due."""
    while entry := queue.ledger.claim(name, LEASE):
        path = queue.spool.write_redacted(entry.id, entry.attempts, lambda file: file.write(b"clean"))
        file = RedactedFile(path.name, path, entry.instance, 5)
        assert queue.ledger.settle_redacted(entry, file, ["PACS", "RESEARCH"])
        say(f"redacted {entry.id}")
        for destination in ("PACS", "RESEARCH"):
            for delivery in queue.ledger.claim_deliveries(destination, name, LEASE, 2):
                assert queue.ledger.settle_sent(delivery, 0x0000)
                queue.finish(delivery.entry_id)
                say(f"{destination} {delivery.entry_id}")


def reconcile_for_ever(queue: Queue, _: str) -> None:
    """Reconcile with the age at which a file in hand is still safe."""
    while True:
        queue.reconcile()
        say("reconciled")


PROGRAMS = {"receive": receive_for_ever, "work": redact_and_send, "reconcile": reconcile_for_ever}


# The tests


@everywhere
def test_every_job_is_done_exactly_once_by_several_processes_while_another_reconciles(
    tmp_path: Path, spool_url: str, ledger_url: str
) -> None:
    queue = new_queue(tmp_path, spool_url, ledger_url)
    entries = {accept(queue, "incoming", str(number))[0] for number in range(JOBS)}
    reconciler = start("reconcile", tmp_path, spool_url, ledger_url, "reconciler")
    workers = [start("work", tmp_path, spool_url, ledger_url, f"worker{number}") for number in range(3)]
    lines = [line for worker in workers for line in said(worker)]
    reconciler.kill()
    assert said(reconciler)
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sorted(lines) == sorted(f"{what} {each}" for what in ("redacted", "PACS", "RESEARCH") for each in entries)
    assert queue.ledger.counts() == {"RECEIVED": 0, "REDACTED": 0, "STORED": 0, "SENT": JOBS, "HELD": 0, "DROPPED": 0}
    assert names(queue.spool) == set()
    queue.ledger.close()


@everywhere
@pytest.mark.parametrize("ledger_is_lost", [False, True], ids=["ledger kept", "ledger lost"])
def test_whatever_was_acknowledged_survives_kill_9_byte_for_byte(
    tmp_path: Path,
    spool_url: str,
    ledger_url: str,
    ledger_is_lost: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    acknowledged: dict[str, str] = {}
    new_queue(tmp_path, spool_url, ledger_url).ledger.close()
    for life in range(4):
        receivers = [start("receive", tmp_path, spool_url, ledger_url, f"{life}.{number}") for number in range(2)]
        for receiver in receivers:
            assert receiver.stdout is not None
            first = receiver.stdout.readline().split()
            acknowledged[first[0]] = first[1]
        time.sleep(random.uniform(0.0, 0.2))  # noqa: S311 - when it dies is left to chance
        for receiver in receivers:
            receiver.send_signal(signal.SIGKILL)
        lines = [line.split() for receiver in receivers for line in said(receiver)]
        acknowledged.update((entry_id, number) for entry_id, number, _ in lines)
    if ledger_is_lost:
        empty(ledger_url)
    queue = new_queue(tmp_path, spool_url, ledger_url)
    done = queue.reconcile(older_than_seconds=0.0)
    assert (done.held, done.unreadable, done.duplicates, done.deleted) == (0, 0, 0, 0)
    known = {each.entry.id: each.entry for each in queue.ledger.entries(limit=100_000)}
    assert acknowledged.keys() <= known.keys()
    for entry_id, number in acknowledged.items():
        assert content(queue.spool, f"{entry_id}.dcm") == content_of(number)
        assert known[entry_id].instance == instance(number)
    assert set(queue.spool.entry_ids()) == known.keys()
    assert not list(queue.spool.incoming.iterdir())
    queue.ledger.close()


@everywhere
def test_a_resend_after_kill_9_is_processed_once(tmp_path: Path, spool_url: str, ledger_url: str) -> None:
    queue = new_queue(tmp_path, spool_url, ledger_url)
    receiver = start("receive", tmp_path, spool_url, ledger_url, "1")
    assert receiver.stdout is not None
    entry_id, number, _ = receiver.stdout.readline().split()
    receiver.kill()
    said(receiver)
    queue.reconcile()
    assert accept(queue, "again", number) == (entry_id, Accepted.DUPLICATE)
    queue.ledger.close()


@everywhere
def test_the_work_of_a_killed_process_goes_on_elsewhere(tmp_path: Path, spool_url: str, ledger_url: str) -> None:
    queue = new_queue(tmp_path, spool_url, ledger_url)
    entries = {accept(queue, "incoming", str(number))[0] for number in range(JOBS)}
    killed = start("work", tmp_path, spool_url, ledger_url, "killed")
    assert killed.stdout is not None
    killed.stdout.readline()
    killed.kill()
    said(killed)
    queue.ledger.expire("killed")
    redact_and_send(queue, "heir")
    left: list[QueueEntry] = [each.entry for each in queue.ledger.entries(limit=JOBS)]
    assert {entry.id for entry in left if entry.state is State.SENT} == entries
    queue.ledger.close()


if __name__ == "__main__":
    what, root, spool_url, ledger_url, name = sys.argv[1:]
    PROGRAMS[what](new_queue(Path(root), spool_url, ledger_url), name)
