"""How much several redactors do on one ledger, and how much the ledger itself: ``scripts/benchmark throughput``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dicom_node.model import Origin, QueueEntry, RedactedFile, SOPInstance, State
from dicom_node.queue import Ledger, Queue, open_queue
from tests.support.burned_in import burned_in
from tests.support.node import Node
from tests.support.processes import wait_until
from tests.support.spools import WholeFile

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = Origin("MODALITY", "DICOM_NODE", "192.0.2.7", 1_700_000_000.0)
LEASE = 600.0
WARM = 4
"""Instances for each redactor before the clock starts."""


def redacted_per_second(folder: Path, ledger: str, policy: str, redactors: int, instances: int) -> float:
    """Let a node with so many redactors work off a queue that is full when it begins: instances per second."""
    route = {"name": "all", "policy": policy, "destinations": ["clean"]}
    node = Node(
        folder,
        [route],
        {"clean": {"folder": "clean"}},
        ledger=ledger,
        lease_seconds=LEASE,
        redactors=redactors,
        profile="thorough",
    )
    queue = open_queue(node.data_dir, ledger)
    try:
        node.start("--role", "redact")
        wait_until("every redactor works", lambda: node.logged.count('"event": "redactor"') == redactors)
        _fill(queue, folder, WARM * redactors)
        node.wait_for(REDACTED=WARM * redactors)
        # Nobody takes from the queue while it fills.
        _tell(node, signal.SIGSTOP)
        _fill(queue, folder, instances)
        _tell(node, signal.SIGCONT)
        started = time.monotonic()
        while queue.ledger.counts()[State.REDACTED] < WARM * redactors + instances:
            time.sleep(0.1)
        return instances / (time.monotonic() - started)
    finally:
        node.kill()
        queue.ledger.close()


def claimed_per_second(ledger: str, claimers: int, instances: int) -> float:
    """Let so many processes claim and settle rows of which nothing is in the spool: instances per second."""
    with closing(Ledger(ledger)) as one:
        one.create()
        for number in range(instances):
            one.accept(_entry(number))
    method = multiprocessing.get_context("spawn")
    barrier = method.Barrier(claimers + 1)
    processes = [method.Process(target=_claim_all, args=(ledger, f"{n}", barrier)) for n in range(claimers)]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.monotonic()
    for process in processes:
        process.join()
    return instances / (time.monotonic() - started)


def _claim_all(url: str, owner: str, barrier: Any) -> None:  # noqa: ANN401 - multiprocessing's has no type of its own
    with closing(Ledger(url)) as ledger:
        ledger.counts()  # connected
        barrier.wait()
        while entry := ledger.claim(owner, LEASE):
            file = RedactedFile(f"{entry.id}.1.dcm", None, entry.instance, 1)  # type: ignore[arg-type]  # it has none
            if not ledger.settle_redacted(entry, file, ["clean"]):
                msg = "another had it as well"
                raise AssertionError(msg)


def _fill(queue: Queue, folder: Path, count: int) -> None:
    for number in range(count):
        path = burned_in(folder / "images" / f"{number}.dcm")
        incoming = WholeFile(queue.spool.incoming / path.name, path.read_bytes())
        queue.accept(incoming, _of(f"{time.time_ns()}"), ORIGIN)


def _entry(number: int) -> QueueEntry:
    return QueueEntry(f"{number:032x}", _of(str(number)), ORIGIN, State.RECEIVED, f"{number:064x}", 1)


def _of(number: str) -> SOPInstance:
    return SOPInstance("1.2.840.10008.5.1.4.1.1.4", f"1.2.3.{number}", "1.2.3.4", "1.2.3.5", "1.2.840.10008.1.2.1")


def _tell(node: Node, number: signal.Signals) -> None:
    for pid in node.roles("redact"):
        os.kill(pid, number)
