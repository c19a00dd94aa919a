"""Machines that share nothing but a store and a ledger: the store goes away, processes die in the middle of a put."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from dicom_node.queue import Ledger, Queue, Spool
from dicom_node.queue.object_spool import ObjectSpool
from dicom_node.queue.object_store import open_store
from tests.support.arrivals import balance
from tests.support.burned_in import burned_in
from tests.support.fault_points import STORE_POINTS, Faults
from tests.support.modality import Modality
from tests.support.node import Node
from tests.support.processes import wait_until, wait_until_standing
from tests.support.s3 import S3
from tests.support.spools import names, store_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.peers import StoreSCP
    from tests.support.postgresql import PostgreSQL

EVERYTHING = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}
COUNT = 24
AWAY_SECONDS = 3.0
IN_FLIGHT_SECONDS = 1.0
"""So long a request is on its way to a store that does not look at it."""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with ExitStack() as stack:
        server = S3()
        stack.callback(server.end)
        server.start()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@dataclass(frozen=True)
class Shared:
    """What all machines have in common."""

    spool_url: str
    ledger_url: str

    @contextmanager
    def seen_from(self, folder: Path) -> Iterator[Queue]:
        """Open the queue as a machine with this data folder has it."""
        spool = ObjectSpool(open_store(store_of(self.spool_url)), Spool(folder / "spool"))
        spool.prepare()
        with closing(Ledger(self.ledger_url)) as ledger:
            yield Queue(spool, ledger)


@pytest.fixture
def shared(store: S3, postgresql: PostgreSQL) -> Shared:
    return Shared(store.new_bucket(), postgresql.new_ledger())


@pytest.fixture
def machine(shared: Shared, pacs: StoreSCP, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Make machines with a disk of their own each."""
    with ExitStack() as stack:

        def make(name: str, faults: Faults | None = None) -> Node:
            hooks, destinations = faults.folder if faults else None, {"pacs": pacs.destination}
            ledger, spool = shared.ledger_url, shared.spool_url
            node = Node(tmp_path / name, [EVERYTHING], destinations, hooks, ledger=ledger, spool=spool)
            stack.callback(node.kill)
            return node

        yield make


def test_three_machines_lose_nothing_though_the_store_refuses_and_stands_still(
    machine: Callable[..., Node], store: S3, pacs: StoreSCP, shared: Shared, tmp_path: Path
) -> None:
    receiver, redactor, sender = machine("receiver"), machine("redactor"), machine("sender")
    for node, role in ((receiver, "receive"), (redactor, "redact"), (sender, "send")):
        node.start("--role", role)
    modality = Modality(receiver.port, [burned_in(tmp_path / "images" / f"{number}.dcm") for number in range(COUNT)])
    modality.start()
    modality.wait_for(COUNT // 4)
    store.refuse()
    receiver.wait_until_logged("A700H")
    time.sleep(AWAY_SECONDS)
    store.go_on()
    modality.wait_for(COUNT // 2)
    store.stand_still()
    time.sleep(AWAY_SECONDS)
    store.go_on()
    modality.wait()
    receiver.wait_for(SENT=COUNT)
    result = balance(modality.confirmed, [], pacs.arrivals())
    assert (result.delivered, result.lost, result.unclean, result.unlike, result.strangers) == (COUNT, 0, 0, 0, 0)
    nothing_stays(shared, receiver, redactor, sender)


def test_a_process_that_dies_at_any_step_of_a_put_or_a_copy_loses_nothing(
    machine: Callable[..., Node], pacs: StoreSCP, shared: Shared, tmp_path: Path
) -> None:
    faults = Faults(tmp_path / "faults")
    node = machine("node", faults)
    node.start()
    sent: list[str] = []
    for number, point in enumerate(STORE_POINTS):
        faults.arm(point)
        modality = Modality(node.port, [burned_in(tmp_path / "images" / f"{number}.dcm")])
        modality.start()
        wait_until(f"it dies: {point}", lambda: not faults.is_armed, lambda: node.logged[-2000:])
        modality.wait()
        sent += modality.confirmed
        node.wait_for(SENT=len(sent))
    result = balance(sent, [], pacs.arrivals())
    assert (result.delivered, result.lost, result.unclean, result.strangers) == (len(STORE_POINTS), 0, 0, 0)
    nothing_stays(shared, node)


def test_what_the_store_carries_out_only_after_its_receiver_is_dead_is_sent_once(
    machine: Callable[..., Node], store: S3, pacs: StoreSCP, shared: Shared, tmp_path: Path
) -> None:
    faults = Faults(tmp_path / "faults")
    node = machine("node", faults)
    node.start()
    faults.arm("store: sidecar put", signal.SIGSTOP)
    modality = Modality(node.port, [burned_in(tmp_path / "images" / "0.dcm")])
    modality.start()
    wait_until("it has put the sidecar", lambda: not faults.is_armed)
    (receiver,) = node.roles("receive")
    wait_until_standing(receiver)
    store.stand_still()
    os.kill(receiver, signal.SIGCONT)
    time.sleep(IN_FLIGHT_SECONDS)
    node.kill_role("receive")
    assert node.counts() == {}
    store.go_on()
    with shared.seen_from(tmp_path / "outside") as queue:
        wait_until("the store has the bytes after all", lambda: list(queue.spool.entry_ids()))
        queue.reconcile()
        modality.wait()
        node.wait_for(SENT=1)
        queue.reconcile()
    result = balance(modality.confirmed, [], pacs.arrivals())
    assert (result.delivered, result.lost, result.unclean, result.resends) == (1, 0, 0, 0)
    nothing_stays(shared, node)


def nothing_stays(shared: Shared, *machines: Node) -> None:
    """See that what is over leaves nothing once its processes are gone: neither in the store nor on a disk."""
    for node in machines:
        node.kill()
        with shared.seen_from(node.data_dir) as queue:
            queue.reconcile(older_than_seconds=0.0)
            assert names(queue.spool) == set()
