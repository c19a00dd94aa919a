"""A node that is killed at random moments while a modality sends to it, and what became of every instance."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from tests.support.arrivals import Balance, balance
from tests.support.burned_in import burned_in
from tests.support.modality import Modality
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.support.disks import PowerlessDisk
    from tests.support.node import Node
    from tests.support.peers import StoreSCP
    from tests.support.postgresql import PostgreSQL

_LONGEST_WAIT = 0.3
"""Seconds between an instance's Success and a fault: redaction and delivery of a small one take less."""

_OUTAGE = 2.0
_PATIENCE = 120.0
"""Seconds without any news after which what has not arrived is counted as lost."""


@dataclass(frozen=True)
class Fault:
    """Something that is done to a node while it works."""

    name: str
    happen: Callable[[Node], object]


def _end_all(node: Node) -> None:
    node.kill()
    _start(node)


def _lose_ledger(node: Node) -> None:
    node.kill()
    node.lose_ledger()
    _start(node)


def _start(node: Node) -> None:
    """Start it as a service is started, again when it ends: its port may be another's for a moment."""

    def is_running() -> bool:
        node.start()
        return node.is_running

    wait_until("it runs", is_running, lambda: node.logged[-2000:])


KILLS = (
    Fault("kill receive", lambda node: node.kill_role("receive")),
    Fault("kill redact", lambda node: node.kill_role("redact")),
    Fault("kill send", lambda node: node.kill_role("send")),
    Fault("kill all", _end_all),
)
LOST_LEDGER = Fault("kill all, ledger lost", _lose_ledger)
EMPTIED_LEDGER = Fault("ledger emptied at work", lambda node: node.lose_ledger())
"""The rows come back with the next look at the spool, which is within a minute."""


def outage(server: PostgreSQL) -> Fault:
    """Let the server under the ledger crash, and come back a little later."""

    def happen(_: Node) -> None:
        server.crash()
        time.sleep(_OUTAGE)
        server.start()

    return Fault("PostgreSQL crashed", happen)


def power_cut(disk: PowerlessDisk) -> Fault:
    """Cut the power of the disk and of all processes, and let both come back."""

    def happen(node: Node) -> None:
        disk.cut()
        node.kill()
        disk.restore()
        _start(node)

    return Fault("power cut", happen)


def random_faults(count: int, seed: int, others: Sequence[Fault] = ()) -> list[Fault]:
    """List so many kills, each kind about as often as another, and the others among them."""
    faults = [KILLS[number % len(KILLS)] for number in range(count)] + list(others)
    Random(seed).shuffle(faults)  # noqa: S311 - chance, no secrets
    return faults


@dataclass
class Chaos:
    """One run.

    Parameters
    ----------
    node, pacs
        Both work; the destination keeps repeats.
    folder : Path
        Where the images stand that are sent.
    instances : int
        How many are sent.
    faults : sequence of Fault
        What happens meanwhile, in this order.
    seed : int
        Of the moments.
    """

    node: Node
    pacs: StoreSCP
    folder: Path
    instances: int
    faults: Sequence[Fault]
    seed: int
    seconds: float = 0.0
    refused: int = 0
    happened: list[str] = field(default_factory=list)

    def run(self) -> Balance:
        """Send everything, let everything happen, and count once nothing moves any more."""
        random = Random(self.seed)  # noqa: S311 - moments, no secrets
        images = [burned_in(self.folder / f"{number}.dcm") for number in range(self.instances)]
        moments = sorted(random.sample(range(1, self.instances), len(self.faults)))
        started = time.monotonic()
        modality = Modality(self.node.port, images)
        modality.start()
        for moment, fault in zip(moments, self.faults, strict=True):
            modality.wait_for(moment)
            time.sleep(random.uniform(0, _LONGEST_WAIT))
            fault.happen(self.node)
            self.happened.append(fault.name)
        modality.wait()
        self._wait(set(modality.confirmed))
        self.seconds, self.refused = time.monotonic() - started, modality.resent
        return balance(modality.confirmed, self.node.held(), self.pacs.arrivals())

    def _wait(self, confirmed: set[str]) -> None:
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < _PATIENCE:
            arrived = set(self.pacs.arrivals())
            if confirmed <= arrived | self.node.held() and self.node.counts().keys() <= {"SENT", "HELD"}:
                return
            if len(arrived) > seen:
                seen, since = len(arrived), time.monotonic()
            time.sleep(0.5)
