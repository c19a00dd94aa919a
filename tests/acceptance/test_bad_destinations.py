"""Destinations that are slow, abort or refuse: what is seen of each, and that nothing is lost by it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pytest

from dicom_node.model import State
from tests.support.images import copies_of, copy_of, pydicom_file, uid_of
from tests.support.node import Node
from tests.support.peers import storescu
from tests.support.processes import wait_until
from tests.support.scripted_scp import WELL, Behaviour, BlackHole, ScriptedSCP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dicom_node.model import Delivery
    from tests.support.peers import StoreSCP

COUNT = 3
"""As many as it takes until a destination is left alone."""


class Seen(NamedTuple):
    """What an operator sees of every delivery to a bad destination."""

    state: State
    words: str
    status: int | None = None


class Case(NamedTuple):
    """A destination, and what is seen of it."""

    behaviour: Behaviour
    seen: Seen


UNKNOWN = "before the response: outcome unknown"
CASES = {
    "well": Case(WELL, Seen(State.SENT, "", 0x0000)),
    "slow": Case(Behaviour(seconds=0.3), Seen(State.SENT, "", 0x0000)),
    "warns": Case(Behaviour(store=0xB000), Seen(State.SENT, "", 0xB000)),
    "aborts": Case(Behaviour(aborts=True), Seen(State.REDACTED, UNKNOWN)),
    "no-status": Case(Behaviour(store=None), Seen(State.REDACTED, UNKNOWN)),
    "out-of-resources": Case(Behaviour(store=0xA700), Seen(State.REDACTED, "answered A700H")),
    "does-not-match": Case(Behaviour(store=0xA900), Seen(State.HELD, "answered A900H")),
    "cannot-understand": Case(Behaviour(store=0xC000), Seen(State.HELD, "answered C000H")),
    "no-contexts": Case(Behaviour(takes_storage=False), Seen(State.HELD, "accepts none of the proposed")),
    "no-associations": Case(Behaviour(takes_associations=False), Seen(State.REDACTED, "")),
}


@dataclass
class Hospital:
    """A node, its destinations and what was sent."""

    node: Node
    peers: dict[str, ScriptedSCP]
    uids: list[str]
    shown: str = ""

    def deliveries(self, name: str) -> list[Delivery]:
        """Return the deliveries to a destination."""
        return [each for entry in self.node.entries() for each in entry.deliveries if each.destination == name]

    def standing(self) -> dict[str, list[tuple[State, str | None]]]:
        """Tell what is seen of each destination."""
        return {name: [(each.state, each.reason) for each in self.deliveries(name)] for name in self.peers}

    def is_seen(self, name: str) -> bool:
        """Whether the ledger says of each delivery what it should."""
        want = CASES[name].seen
        each = self.deliveries(name)
        tried = [one for one in each if want.words in (one.reason or "") and one.status == want.status]
        # What is out of order as a whole is found out by a few; the others wait untouched.
        enough = 1 if want.state is State.REDACTED else COUNT
        return len(each) == COUNT and all(one.state is want.state for one in each) and len(tried) >= enough


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Return a node that has sent to every kind of destination."""
    folder = tmp_path_factory.mktemp("bad")
    peers = {name: ScriptedSCP(name.upper()[:16], case.behaviour) for name, case in CASES.items()}
    everything = {"name": "all", "policy": "pass", "destinations": list(peers)}
    node = Node(folder / "node", [everything], {name: peer.destination for name, peer in peers.items()})
    with ExitStack() as stack:
        for peer in peers.values():
            peer.start()
            stack.callback(peer.end)
        stack.callback(node.kill)
        node.start()
        images = copies_of(pydicom_file("CT_small.dcm"), folder / "images", COUNT)
        storescu(node.port, *images)
        hospital = Hospital(node, peers, [uid_of(image) for image in images])
        wait_until("all are seen", lambda: all(map(hospital.is_seen, peers)), hospital.standing)
        node.wait_until_logged('"destination": "no-associations", "reason": "association rejected')
        hospital.shown = node.command("queue", "show", node.entries()[0].entry.id).stdout
        yield hospital


@pytest.fixture(scope="module")
def well(bad: Hospital) -> Hospital:
    """Return the same once every destination has been put right, and what was held has been tried again."""
    for name, peer in bad.peers.items():
        if CASES[name].behaviour is not WELL:
            peer.become(WELL)
    for entry in bad.node.entries():
        bad.node.command("queue", "retry", entry.entry.id)
    bad.node.wait_for(SENT=COUNT)
    return bad


@pytest.mark.parametrize("name", CASES)
def test_what_a_bad_destination_does_is_seen_on_each_delivery_and_holds_up_no_other(bad: Hospital, name: str) -> None:
    seen = CASES[name].seen
    assert {each.state for each in bad.deliveries(name)} == {seen.state}
    assert seen.words in bad.shown
    stored = bad.peers[name].uids()
    assert stored == (set(bad.uids) if seen.state is State.SENT else set())


def test_a_warning_is_a_delivery_and_is_shown(bad: Hospital) -> None:
    assert "warns  SENT  B000H" in bad.shown


def test_what_is_not_understood_is_tried_three_times_and_then_held(bad: Hospital) -> None:
    asked = [each.sop_instance_uid for each in bad.peers["cannot-understand"].asked]
    assert sorted(asked) == sorted(3 * bad.uids)


def test_what_does_not_match_is_held_after_one_try(bad: Hospital) -> None:
    asked = [each.sop_instance_uid for each in bad.peers["does-not-match"].asked]
    assert sorted(asked) == sorted(bad.uids)


def test_nothing_is_deleted_while_a_destination_has_it_not(bad: Hospital) -> None:
    received = {path.stem for path in bad.node.spooled() if path.parent.name == "received" and path.suffix == ".dcm"}
    assert received == {each.entry.id for each in bad.node.entries()}


@pytest.mark.parametrize("name", CASES)
def test_every_destination_gets_everything_once_it_is_well(well: Hospital, name: str) -> None:
    assert well.peers[name].uids() == set(well.uids)
    # Its bytes are deleted once it is written down that the last of them has it.
    wait_until("nothing is left in the spool", lambda: not well.node.spooled(), well.node.spooled)


def test_with_the_first_destination_a_black_hole_the_others_get_everything_and_it_does_once_it_is_well(
    make_node: Callable[..., Node], make_pacs: Callable[..., StoreSCP], tmp_path: Path
) -> None:
    first, second, third = (make_pacs(name) for name in ("FIRST", "SECOND", "THIRD"))
    for good in (second, third):
        good.start()
    node = make_node({"first": first.destination, "second": second.destination, "third": third.destination})
    hole = BlackHole(first.port)
    try:
        node.start()
        images = copies_of(pydicom_file("CT_small.dcm"), tmp_path / "images", COUNT)
        storescu(node.port, *images)
        everything = set(map(uid_of, images))
        for good in (second, third):
            wait_until("it has everything", lambda good=good: set(good.files()) == everything, good.files)  # type: ignore[misc]
        wait_until("the first was tried", lambda: hole.connections)
        stands = [[State.REDACTED, State.SENT, State.SENT]] * COUNT
        wait_until("all is so written down", lambda: states_of_deliveries(node) == stands, node.entries)
    finally:
        hole.end()
    assert node.counts() == {"REDACTED": COUNT}
    assert sum(path.suffix == ".dcm" and path.parent.name == "received" for path in node.spooled()) == COUNT
    first.start()
    node.wait_for(SENT=COUNT)
    assert set(first.files()) == everything


def states_of_deliveries(node: Node) -> list[list[State]]:
    return [[each.state for each in entry.deliveries] for entry in node.entries()]


def test_what_is_urgent_overtakes_a_backlog_and_a_study_keeps_its_order(
    make_node: Callable[..., Node], tmp_path: Path
) -> None:
    pacs = ScriptedSCP("PACS")
    routes: list[dict[str, object]] = [
        {"name": "urgent", "match": {"StudyID": "URGENT"}, "priority": "high"},
        {"name": "others", "priority": "low"},
    ]
    node = make_node(
        {"pacs": {**pacs.destination, "order": "study"}},
        [{**route, "policy": "all-text", "destinations": ["pacs"]} for route in routes],
    )
    source = pydicom_file("CT_small.dcm")
    backlog = [
        copy_of(source, tmp_path / f"{number}.dcm", StudyInstanceUID=f"1.2.3.{number % 3}", StudyID="LATER")
        for number in range(12)
    ]
    urgent = copy_of(source, tmp_path / "urgent.dcm", StudyInstanceUID="1.2.3.9", StudyID="URGENT")
    pacs.start()
    try:
        node.start("--role", "receive")
        storescu(node.port, *backlog, urgent)
        node.wait_for(RECEIVED=len(backlog) + 1)
        node.stop()
        node.start()
        node.wait_for(SENT=len(backlog) + 1)
    finally:
        pacs.end()
    arrived = [each.sop_instance_uid for each in pacs.stored]
    assert arrived.index(uid_of(urgent)) <= 2, "beside it, another redactor has one of the backlog in hand"
    assert {each.sop_instance_uid: each.priority for each in pacs.stored}[uid_of(urgent)] == 1
    for study in range(3):
        sent = [uid_of(path) for path in backlog[study::3]]
        assert [uid for uid in arrived if uid in sent] == sent
