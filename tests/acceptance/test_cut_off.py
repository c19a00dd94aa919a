"""Machines that share a spool and a ledger over a network: one is cut off and dies, one is cut off and comes back.

Each is a network namespace; the ledger's server and the destination are on another one. ``DICOM_NODE_LONG=1`` takes the
default lease in place of a short one.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dicom_node.model import State
from dicom_node.queue import Ledger
from tests.support.arrivals import balance
from tests.support.burned_in import burned_in, is_clean
from tests.support.fault_points import Faults
from tests.support.images import uid_of
from tests.support.network import Network
from tests.support.node import Node
from tests.support.peers import StoreSCP, storescu
from tests.support.postgresql import PostgreSQL
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.network import Machine


COUNT = 12
MORE = 2
LEASE = 20.0 if os.environ.get("DICOM_NODE_LONG") else 6.0
TAKEN_OVER = 30.0


class Machines(NamedTuple):
    """A receiver, one that will be cut off and killed, one that will be cut off and come back, and their heir."""

    receiver: Node
    lost: Node
    late: Node
    heir: Node


class Site:
    """All of them, and what they share."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.network = Network.or_skip(others=4)
        stack.callback(self.network.end)
        self.server = PostgreSQL(self.network.middle)
        stack.callback(self.server.end)
        self.server.start()
        self.pacs = StoreSCP(folder / "pacs", "PACS", machine=self.network.middle)
        stack.callback(self.pacs.end)
        self.pacs.start()
        self.faults = {name: Faults(folder / f"faults-{name}") for name in ("lost", "late")}
        self.machines = Machines(*(self._node(folder, number) for number in range(4)))
        for node in self.machines:
            stack.callback(node.kill)

    def _node(self, folder: Path, number: int) -> Node:
        name = Machines._fields[number]
        return Node(
            folder / name,
            [{"name": "all", "policy": "all-text", "destinations": ["pacs", "archive"]}],
            {"pacs": self.pacs.destination, "archive": {"folder": "archive"}},
            self.faults[name].folder if name in self.faults else None,
            ledger=self.server.url,
            data_dir=folder / "shared",
            lease_seconds=LEASE,
            # The one that is late has a redactor to spare: the senders need clean files while the other stands still.
            redactors=2 if name == "late" else 1,
            machine=self.network.others[number],
            ledger_from_here=self.server.url_from_here,
        )

    def send(self, paths: list[Path]) -> None:
        """Send images to the receiver, from the machine in the middle."""
        middle, (receiver, *_) = self.network.middle, self.network.others
        storescu(self.machines.receiver.port, *paths, host=receiver.address, within=middle.within)

    def machine_of(self, node: Node) -> Machine:
        """Tell on which machine a node runs."""
        return self.network.others[self.machines.index(node)]

    def sent(self) -> int:
        """Count the instances that the PACS has, as the ledger knows."""
        deliveries = [delivery for each in self.machines.heir.entries() for delivery in each.deliveries]
        return sum(each.destination == "pacs" and each.state is State.SENT for each in deliveries)

    def clean_files(self) -> set[str]:
        """Name the clean files in the spool."""
        return {path.name for path in (self.machines.heir.data_dir / "spool" / "redacted").glob("*.dcm")}

    def in_hand(self, dead: set[int]) -> set[str]:
        """Find the owners in the ledger that are these processes."""
        entries = self.machines.heir.entries()
        owners = {each.entry.owner for each in entries} | {one.owner for each in entries for one in each.deliveries}
        return {owner for owner in owners if owner and int(owner.rpartition(":")[2]) in dead}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def tell(node: Node, number: signal.Signals) -> None:
    """Send a signal to all role processes of a node."""
    for pid in node.roles():
        os.kill(pid, number)


def test_what_machines_have_in_hand_when_they_are_cut_off_another_takes_over_and_they_cannot_settle_it_later(
    site: Site, tmp_path: Path
) -> None:
    receiver, lost, late, heir = site.machines
    receiver.start("--role", "receive")
    # Clean files stay in the spool as long as one destination has not got them.
    with closing(Ledger(site.server.url_from_here)) as ledger:
        ledger.pause("archive")
    for node in (lost, late, heir):
        node.start("--role", "redact,send")
    heir.wait_until_logged("redactor")
    tell(heir, signal.SIGSTOP)
    images = [burned_in(tmp_path / "images" / f"{number}.dcm") for number in range(COUNT + MORE)]

    # Both stand still with work in hand; one of them in a transaction, with a lock on a row.
    site.faults["lost"].arm("redact: claiming", signal.SIGSTOP)
    site.faults["lost"].arm("send: claimed", signal.SIGSTOP)
    site.faults["late"].arm("redact: clean file durable", signal.SIGSTOP)
    site.faults["late"].arm("send: status before settle", signal.SIGSTOP)
    site.send(images[:COUNT])
    wait_until("they have work in hand", lambda: not any(faults.is_armed for faults in site.faults.values()))
    gone = lost.roles() | late.roles()
    assert site.in_hand(lost.roles())
    assert {owner.split(":")[1] for owner in site.in_hand(late.roles())} == {"redact", "send"}

    site.network.pull(site.machine_of(lost))
    site.network.pull(site.machine_of(late))
    since = time.monotonic()
    tell(heir, signal.SIGCONT)
    tell(lost, signal.SIGCONT)
    lost.wait_until_logged("step failed")  # it works on, as far as it gets
    lost.kill()
    wait_until("another has it in hand", lambda: not site.in_hand(gone))
    taken_over = time.monotonic() - since
    assert taken_over < TAKEN_OVER
    wait_until("all are sent", lambda: site.sent() == COUNT, heir.counts)
    print(f"\nlease {LEASE:.0f} s: taken over after {taken_over:.1f} s, sent after {time.monotonic() - since:.1f} s")  # noqa: T201

    # The other comes back, and finishes what it had in hand: it is not its work any more.
    settled, logged = heir.entries(), len(late.logged)
    site.network.plug(site.machine_of(late))
    tell(late, signal.SIGCONT)
    late.wait_until_logged('"action": "lost"')
    wait_until("its sender has tried too", lambda: '"role": "send"' in late.logged[logged:], heir.counts)
    assert heir.entries() == settled
    assert site.clean_files() > {each.entry.redacted_file for each in settled}

    # From then on it works as before.
    heir.kill()
    with closing(Ledger(site.server.url_from_here)) as ledger:
        ledger.resume("archive")
    site.send(images[COUNT:])
    late.wait_for(SENT=COUNT + MORE)
    result = balance([uid_of(path) for path in images], [], site.pacs.arrivals())
    assert (result.delivered, result.lost, result.unclean, result.unlike) == (COUNT + MORE, 0, 0, 0)
    assert result.resends >= 1
    assert result.strangers == 0
    archived = list((tmp_path / "shared" / "archive").rglob("*.dcm"))
    assert len(archived) == COUNT + MORE
    assert all(is_clean(path) for path in archived)
