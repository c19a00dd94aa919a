"""The supervisor's end: who does not drain in time is killed, and what he had in hand is another's at once."""

from __future__ import annotations

import socket
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

from dicom_node import node
from dicom_node.model import Origin, QueueEntry, SOPInstance, State
from dicom_node.queue import Ledger, Queue, Spool

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)
WILLING = "import time; print('ready', flush=True); time.sleep(60)"


def started(program: str) -> node.RoleProcess:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    ours, theirs = socket.socketpair()
    theirs.close()
    child = node.RoleProcess("redact", process, ours)
    assert child.is_ready()
    return child


def test_what_a_process_had_in_hand_that_had_to_be_killed_is_due_at_once_and_it_counts_as_no_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "END_SECONDS", 0.5)
    queue = Queue(Spool(tmp_path / "spool"), Ledger(f"sqlite:///{tmp_path / 'ledger.db'}"))
    queue.ledger.create()
    instance = SOPInstance("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.4", "1.2.5", "1.2.840.10008.1.2.1")
    entry = QueueEntry(uuid.uuid4().hex, instance, Origin("CT1", "NODE", "192.0.2.7", 1.0), State.RECEIVED, "sha", 5)
    queue.ledger.accept(entry)
    for _ in range(3):  # two deaths would have it held
        children = [started(STUBBORN), started(WILLING)]
        assert queue.ledger.claim(node.owner_name("redact", children[0].process.pid), 600.0)
        killed = node._end(children, 0.0)  # noqa: SLF001 - what the end of `serve` does
        assert killed == children[:1]
        node._give_back(killed, queue)  # noqa: SLF001
        for child in children:
            assert child.process.stdout
            child.process.stdout.close()
            child.input.close()
    assert queue.ledger.claim("another node", 600.0)
    queue.ledger.close()
