"""Peers that mean no good, or are broken: the receiver lives, stays small, and serves the others.

Most of it talks bytes to a receiver in a process of its own. Longer, with an instance of 2 GB and 3,000 connections::

    DICOM_NODE_LONG=1 python -m pytest tests/acceptance/test_hostile_peers.py
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from pydicom.uid import generate_uid
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from tests.support.images import pydicom_file
from tests.support.node import Node
from tests.support.processes import wait_until
from tests.support.watch import Watch, data_set_hash, parts_of
from tests.support.wire import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_STORE_RQ,
    DATA_SET,
    N_EVENT_REPORT_RQ,
    NO_DATA_SET,
    P_DATA_TF,
    RELEASE,
    SECOND,
    Wire,
    associate_rq,
    command_set,
    p_data,
    pdu,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = bool(os.environ.get("DICOM_NODE_LONG"))
CT = pydicom_file("CT_small.dcm")
NETWORK_TIMEOUT = 2.0
ASSOCIATIONS = 20
OF_A_PEER = 12
ANOTHER = "127.0.0.2"
"""Address of a peer that does nothing wrong; the hostile ones are 127.0.0.1."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One receiver for all of them: it has to live through this whole file."""
    receive = {
        "network_timeout": NETWORK_TIMEOUT,
        "maximum_associations": ASSOCIATIONS,
        "maximum_associations_per_peer": OF_A_PEER,
    }
    everything = {"name": "all", "policy": "all-text", "destinations": ["clean"]}
    one = Node(tmp_path_factory.mktemp("hostile") / "node", [everything], {"clean": {"folder": "out"}}, receive=receive)
    try:
        one.start("--role", "receive")
        yield one
    finally:
        one.kill()


@pytest.fixture(scope="module")
def _first_watch(node: Node) -> Watch:
    return Watch(node, CT)


@pytest.fixture
def watch(_first_watch: Watch) -> Iterator[Watch]:
    """Watch the receiver from the first test to the last."""
    yield _first_watch
    _first_watch.nothing_is_left_over()
    _first_watch.nothing_is_left_over()
    _first_watch.only_the_spool_is_written()
    _first_watch.what_had_success_and_nothing_else_is_kept()


def ct(sop_instance: str = "1.2.3.4") -> bytes:
    return p_data(command_set(C_STORE_RQ, CTImageStorage, sop_instance), command=True)


def test_half_association_requests_take_nobodys_place_and_are_ended(node: Node, watch: Watch) -> None:
    with ExitStack() as stack:
        halves = [stack.enter_context(Wire(node.port)) for _ in range(ASSOCIATIONS - 1)]
        for number, half in enumerate(halves):
            half.send(associate_rq()[: 3 + 8 * number])
        watch.all_is_well(source=ANOTHER)
        started = time.monotonic()
        assert all(half.hung_up() for half in halves)
        assert time.monotonic() - started < 3 * NETWORK_TIMEOUT


def test_half_a_message_is_ended_and_leaves_no_file(node: Node, watch: Watch) -> None:
    data_set = parts_of(CT)[3]
    with ExitStack() as stack:
        halves = [stack.enter_context(Wire(node.port)) for _ in range(OF_A_PEER - 1)]
        for number, half in enumerate(halves):
            assert half.associate() == ASSOCIATE_AC
            half.send(ct(), p_data(data_set, last=False), p_data(data_set)[: 5 + 100 * number])
        watch.all_is_well()
        assert all(half.hung_up() for half in halves)


def test_a_slow_writer_is_cut_off_when_a_pdu_takes_too_long(node: Node, watch: Watch) -> None:
    def drip(wire: Wire, content: bytes) -> None:
        for byte in content:
            if not wire.send(bytes([byte])):
                return
            time.sleep(0.1)

    with ExitStack() as stack:
        writers = [stack.enter_context(Wire(node.port)) for _ in range(5)]
        contents = [associate_rq()] * 4
        assert writers[-1].associate() == ASSOCIATE_AC
        contents.append(p_data(bytes(1000)))
        threads = [threading.Thread(target=drip, args=pair) for pair in zip(writers, contents, strict=True)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        watch.all_is_well()
        assert all(writer.hung_up() for writer in writers)
        assert time.monotonic() - started < 4 * NETWORK_TIMEOUT
        for thread in threads:
            thread.join()


def test_giant_lengths_are_not_read_and_cost_no_memory(node: Node, watch: Watch) -> None:
    before = watch.peak_mebibytes()
    for kind in (*range(9), 0xFF):
        for length in (0xFFFFFFFF, 400 << 20, 3 << 20):
            with Wire(node.port) as stranger, Wire(node.port) as associate:
                stranger.send(struct.pack(">BBI", kind, 0, length))
                assert associate.associate() == ASSOCIATE_AC
                associate.send(struct.pack(">BBI", kind, 0, length))
                assert stranger.hung_up()
                assert associate.hung_up()
    # A fragment that says it is longer than its PDU, and one that has nothing.
    for content in (struct.pack(">IBB", 0x7FFFFFFF, 1, 3), struct.pack(">IB", 1, 1), struct.pack(">I", 0), b"\0"):
        with Wire(node.port) as wire:
            assert wire.associate() == ASSOCIATE_AC
            wire.send(pdu(P_DATA_TF, content))
            assert wire.hung_up()
    watch.all_is_well()
    assert watch.peak_mebibytes() - before < 20


def test_an_association_request_that_is_all_items_is_not_decoded(node: Node, watch: Watch) -> None:
    many = b"\x40\x00\x00\x011" * 8000
    context = b"\x20\x00" + struct.pack(">H", 11 + len(many)) + b"\x01\x00\x00\x00\x30\x00\x00\x031.2" + many
    request = associate_rq()[6:] + context * 25
    before = watch.cpu_seconds
    with Wire(node.port) as wire:
        wire.send(pdu(1, request))
        assert wire.hung_up()
    watch.all_is_well()
    assert watch.cpu_seconds - before < 3


def test_thousands_of_idle_connections_cost_the_others_nothing(node: Node, watch: Watch) -> None:
    count = 3000 if LONG else 1000
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(Wire(node.port))
            if number % (count // 4) == 0:
                watch.all_is_well(source=ANOTHER)
        watch.all_is_well(source=ANOTHER)
        # What was hung up on is gone; the rest are no more than there are associations.
        wait_until("the surplus is gone", lambda: watch.threads < 3 * ASSOCIATIONS + 10)
        assert watch.descriptors < 3 * ASSOCIATIONS + 30


def test_a_peer_cannot_take_every_association(node: Node, watch: Watch) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(node.port)) for _ in range(OF_A_PEER + 3)]
        answers = [wire.associate() for wire in wires]
        assert answers == [ASSOCIATE_AC] * OF_A_PEER + [ASSOCIATE_RJ] * 3
        watch.all_is_well(source=ANOTHER)
        wires[0].send(RELEASE)
        assert wires[0].hung_up()
        wait_until("its place is free", lambda: _gets_in(node))


def test_hundreds_of_associations_at_once_are_served_or_told_to_come_again(node: Node, watch: Watch) -> None:
    """Three hundred modalities come at the same moment, and come again when they are told so, until all have sent."""
    sop_class, syntax, _, data_set = parts_of(CT)
    confirmed: list[int] = []
    answers: set[int] = set()

    def modality(number: int) -> None:
        uid = f"1.2.3.4.{number:04}"
        # The SOP Instance UID has to be that of the command set: in its place in the data set, at its length.
        own = _with_uid(data_set, uid)
        while True:
            with Wire(node.port, f"127.0.1.{number % 100 + 1}") as wire:
                answer = wire.associate(associate_rq(sop_class, [syntax], calling="MODALITY"))
                answers.add(answer)
                if answer == ASSOCIATE_AC and wire.store(sop_class, uid, own) == 0x0000:
                    watch.confirmed.add(data_set_hash(own))
                    confirmed.append(number)
                    wire.send(RELEASE)
                    wire.hung_up()
                    return
            time.sleep(0.1)

    threads = [threading.Thread(target=modality, args=(number,)) for number in range(300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(confirmed) == list(range(300))
    assert answers <= {ASSOCIATE_AC, ASSOCIATE_RJ, 0}
    watch.all_is_well()


@pytest.mark.parametrize(
    "uid", ["../../etc/x", "HERE/x", "../" * 20 + "x", "..", ".", "1.2.3/../../x", "1.2.3\\x", "a" * 64, "1" * 64, ""]
)
def test_a_uid_never_becomes_a_path(node: Node, watch: Watch, uid: str) -> None:
    uid = uid.replace("HERE", str(node.folder.parent))[:64]
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        status = wire.store(CTImageStorage, uid, _with_uid(parts_of(CT)[3], uid))
        assert status in {0x0117, 0xC000, None}
    watch.is_served()


def test_ae_titles_off_the_wire_never_become_a_path(node: Node, watch: Watch) -> None:
    for calling in ("../../x", "/etc/passwd", "\\..\\x", "\0" * 16, "%s%n{}"):
        with Wire(node.port) as wire:
            wire.associate(associate_rq(calling=calling))
    watch.all_is_well()


@pytest.mark.parametrize("data_set", [b"", b"\0", b"\0" * 10_000, b"\xff" * 37, parts_of(CT)[3][:-1]])
def test_a_data_set_that_is_none_is_refused(node: Node, watch: Watch, data_set: bytes) -> None:
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        assert wire.store(CTImageStorage, "1.2.3.4", data_set) == 0xC000
        assert wire.echo() == 0x0000
    watch.is_served()


def test_a_store_without_a_data_set_is_not_answered_with_success(node: Node, watch: Watch) -> None:
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        wire.send(p_data(command_set(C_STORE_RQ, CTImageStorage, "1.2.3.4", NO_DATA_SET), command=True))
        assert wire.status() != 0x0000
    watch.all_is_well()


def test_another_sop_class_than_said_and_a_context_of_another_service_are_refused(node: Node, watch: Watch) -> None:
    _, _, uid, data_set = parts_of(CT)
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        assert wire.store(MRImageStorage, uid, data_set) == 0xA900
        told = command_set(C_STORE_RQ, CTImageStorage, uid)
        wire.send(p_data(told, command=True, context=SECOND), p_data(data_set, context=SECOND))
        assert wire.status() == 0x0122
    watch.is_served()


@pytest.mark.parametrize(
    ("field", "data_set"), [(C_FIND_RQ, DATA_SET), (C_FIND_RQ, NO_DATA_SET), (N_EVENT_REPORT_RQ, NO_DATA_SET), (77, 1)]
)
def test_a_service_that_is_not_offered_ends_the_association(
    node: Node, watch: Watch, field: int, data_set: int
) -> None:
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        message = p_data(command_set(field, CTImageStorage, "1.2.3.4", data_set), command=True)
        wire.send(*[message, *([p_data(b"12345678")] if data_set == DATA_SET else [])] * 50)
        assert wire.receive()[0] in {ABORT, 0}
    watch.all_is_well()


@pytest.mark.parametrize("kind", ["endless command set", "data set of an echo", "data set first", "many command sets"])
def test_what_a_message_may_not_be_made_of_is_not_kept(node: Node, watch: Watch, kind: str) -> None:
    """Each of these would grow in memory, or in open files, for as long as the peer goes on."""
    piece = bytes(120_000)
    echo = command_set(C_ECHO_RQ, Verification, data_set=DATA_SET)
    begin, again = {
        "endless command set": (b"", p_data(piece, command=True, last=False)),
        "data set of an echo": (p_data(echo, command=True), p_data(piece, last=False)),
        "data set first": (b"", p_data(piece, last=False)),
        "many command sets": (ct(), ct()),
    }[kind]
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        wire.send(begin)
        # Far more than the node may take: 300 MB, or 2,500 files.
        assert not all(wire.send(again) for _ in range(2500)) or wire.receive()[0] in {ABORT, 0}
    watch.all_is_well()


def test_a_peer_that_does_not_wait_for_responses_is_not_read_ahead_of_them(node: Node, watch: Watch) -> None:
    most = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.01):
            most[0] = max(most[0], len(list((node.data_dir / "spool" / "incoming").iterdir())))

    looker = threading.Thread(target=look)
    looker.start()
    with Wire(node.port) as wire:
        assert wire.associate() == ASSOCIATE_AC
        for _ in range(300):
            wire.send(ct(), p_data(b"\xff" * 5000))
        assert {wire.status() for _ in range(300)} == {0xC000}
    done.set()
    looker.join()
    assert most[0] <= 5
    watch.all_is_well()


@pytest.mark.skipif(not LONG, reason="it takes a minute to fill the buffers of a connection with responses")
def test_a_peer_that_never_reads_its_responses_is_ended(node: Node, watch: Watch) -> None:
    message = p_data(command_set(C_ECHO_RQ, Verification, data_set=NO_DATA_SET), command=True, context=SECOND)
    with Wire(node.port, receive_buffer=4096) as wire:
        assert wire.associate() == ASSOCIATE_AC
        while wire.send(message * 1000):
            pass
        watch.all_is_well()


def test_an_instance_of_gigabytes_passes_through_without_standing_in_memory(node: Node, watch: Watch) -> None:
    """Pixel data of more than 2^31 bytes in the long run, of 256 MiB otherwise."""
    length = (1 << 31) + (1 << 20) if LONG else 1 << 28
    sop_class, syntax, _, data_set = parts_of(CT)
    uid = str(generate_uid())
    pixel_data = data_set.index(b"\xe0\x7f\x10\x00OW")
    head = _with_uid(data_set[:pixel_data], uid) + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", length)
    block = os.urandom(1 << 16)
    digest = hashlib.sha256(head)
    with Wire(node.port) as wire:
        assert wire.associate(associate_rq(sop_class, [syntax])) == ASSOCIATE_AC
        started = time.monotonic()
        wire.send(p_data(command_set(C_STORE_RQ, sop_class, uid), command=True), p_data(head, last=False))
        for _ in range(length >> 16):
            wire.send(p_data(block, last=False))
            digest.update(block)
        watch.is_served(ANOTHER)
        wire.send(p_data(b"", last=True))
        assert wire.status() == 0x0000
    watch.confirmed.add(digest.hexdigest())
    seconds = time.monotonic() - started
    print(f"\n{length >> 20} MiB in {seconds:.1f} s, receiver at most {watch.peak_mebibytes()} MiB")  # noqa: T201
    assert watch.peak_mebibytes() < 150


def _gets_in(node: Node) -> bool:
    with Wire(node.port) as wire:
        return wire.associate() == ASSOCIATE_AC


def _with_uid(data_set: bytes, uid: str) -> bytes:
    """Put another SOP Instance UID in, at its own length."""
    start = data_set.index(b"\x08\x00\x18\x00UI")
    (length,) = struct.unpack_from("<H", data_set, start + 6)
    value = uid.encode() + b"\0" * (len(uid) % 2)
    return data_set[: start + 6] + struct.pack("<H", len(value)) + value + data_set[start + 8 + length :]
