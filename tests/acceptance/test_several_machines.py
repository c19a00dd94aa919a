"""Nodes that share a spool and a ledger on PostgreSQL: one of them dies, with work in hand."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.arrivals import balance
from tests.support.burned_in import burned_in
from tests.support.fault_points import Faults
from tests.support.modality import Modality
from tests.support.node import Node
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.peers import StoreSCP
    from tests.support.postgresql import PostgreSQL

COUNT = 24
DEFAULT_LEASE = 20.0
TAKEN_OVER = 30.0


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "faults")


@pytest.fixture
def nodes(tmp_path: Path, postgresql: PostgreSQL, pacs: StoreSCP, faults: Faults) -> Iterator[list[Node]]:
    """Return a receiver, a redactor and sender that can be made to die, and another."""
    everything = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}
    destinations, ledger = {"pacs": pacs.destination}, postgresql.new_ledger()
    hooks = {"dying": faults.folder}
    made = [
        Node(
            tmp_path / name,
            [everything],
            destinations,
            hooks.get(name),
            ledger=ledger,
            data_dir=tmp_path / "shared",
            lease_seconds=DEFAULT_LEASE,
        )
        for name in ("receiver", "dying", "heir")
    ]
    try:
        yield made
    finally:
        for node in made:
            node.kill()


def test_what_a_machine_has_in_hand_when_it_dies_another_takes_over_in_thirty_seconds_without_anyone_doing_anything(
    nodes: list[Node], pacs: StoreSCP, faults: Faults, tmp_path: Path
) -> None:
    receiver, dying, heir = nodes
    receiver.start("--role", "receive")
    for node in (dying, heir):
        node.start("--role", "redact,send")
    # It stands still with work in hand: had it died by itself, its supervisor would have been quicker than we are.
    faults.arm("redact: claimed", signal.SIGSTOP)
    faults.arm("send: claimed", signal.SIGSTOP)
    images = [burned_in(tmp_path / "images" / f"{number}.dcm") for number in range(COUNT)]
    modality = Modality(receiver.port, images)
    modality.start()
    wait_until("it has work in hand", lambda: not faults.is_armed)
    since, dead = time.monotonic(), dying.roles()
    assert in_hand(heir, dead)
    dying.kill()
    wait_until("another has it in hand", lambda: not in_hand(heir, dead))
    assert time.monotonic() - since < TAKEN_OVER
    modality.wait()
    heir.wait_for(SENT=COUNT)
    result = balance(modality.confirmed, [], pacs.arrivals())
    assert (result.delivered, result.lost, result.unclean, result.resends) == (COUNT, 0, 0, 0)


def test_two_receivers_two_redactors_and_two_senders_do_each_work_once(
    tmp_path: Path, postgresql: PostgreSQL, pacs: StoreSCP
) -> None:
    everything = {"name": "all", "policy": "all-text", "destinations": ["pacs"]}
    make = partial(
        Node,
        ledger=postgresql.new_ledger(),
        data_dir=tmp_path / "shared",
        lease_seconds=DEFAULT_LEASE,
        redactors=1,
    )
    images = [burned_in(tmp_path / "images" / f"{number}.dcm") for number in range(COUNT)]
    with ExitStack() as stack:
        nodes = {}
        for name in [f"{role}-{number}" for role in ("receive", "redact", "send") for number in (1, 2)]:
            nodes[name] = make(tmp_path / name, [everything], {"pacs": pacs.destination})
            stack.callback(nodes[name].kill)
            nodes[name].start("--role", name.partition("-")[0])
        for number in (1, 2):  # or one of them has done all before the other works
            nodes[f"redact-{number}"].wait_until_logged("redactor")
        receivers = nodes["receive-1"], nodes["receive-2"]
        # Every image comes to both: for one of them it is a resend.
        modalities = [Modality(receiver.port, images) for receiver in receivers]
        for modality in modalities:
            modality.start()
        for modality in modalities:
            modality.wait()
        receivers[0].wait_for(SENT=COUNT)
        redacted, sent = (
            [nodes[f"{role}-{number}"].logged.count(f'"action": "{action}"') for number in (1, 2)]
            for role, action in (("redact", "redacted"), ("send", "sent"))
        )
        assert all(redacted)
        assert sum(redacted) == sum(sent) == COUNT
    result = balance([path for modality in modalities for path in modality.confirmed], [], pacs.arrivals())
    assert (result.delivered, result.lost, result.unclean, result.resends) == (COUNT, 0, 0, 0)


def in_hand(node: Node, dead: set[int]) -> set[str]:
    """Find the owners in the ledger that are these processes."""
    entries = node.entries()
    owners = {each.entry.owner for each in entries} | {one.owner for each in entries for one in each.deliveries}
    return {owner for owner in owners if owner and int(owner.rpartition(":")[2]) in dead}
