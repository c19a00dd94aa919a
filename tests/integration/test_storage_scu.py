"""The sender against peers of every temper: pynetdicom on the loopback, dcmtk's storescp, and bare sockets."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage, Verification

from dicom_node.errors import Defer, DestinationBusy, DestinationDown, Hold
from dicom_node.model import Priority, RemoteAE, SOPInstance, StoreStatus
from dicom_node.storage_scu import StorageSCU
from tests.support.scripted_scp import shut_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynetdicom.events import Event

CT = Path(str(get_testdata_file("CT_small.dcm")))
MR_IMPLICIT = Path(str(get_testdata_file("MR_small_implicit.dcm")))
MR_RLE = Path(str(get_testdata_file("MR_small_RLE.dcm")))
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
CLASSES = [CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage]


def instance_of(path: Path) -> SOPInstance:
    dataset = dcmread(path, stop_before_pixels=True)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    return SOPInstance(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), "1.2.3", "1.2.4", syntax)


def encoded(path: Path) -> bytes:
    """Return the data set of a file as it is encoded there."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


@dataclass
class Peer:
    """A storage SCP that answers as it is told, and remembers what it got."""

    answer: Callable[[Event], int] = lambda _event: 0x0000
    received: list[tuple[str, str, bytes]] = field(default_factory=list)
    associations: int = 0

    def on_store(self, event: Event) -> int:
        content = event.request.DataSet.getvalue()
        self.received.append((event.request.AffectedSOPInstanceUID, event.context.transfer_syntax, content))
        return self.answer(event)

    def on_established(self, _event: Event) -> None:
        self.associations += 1


@contextmanager
def listening(
    peer: Peer, syntaxes: list[UID] = NATIVE, classes: list[UID] = CLASSES, **settings: object
) -> Iterator[int]:
    ae = AE("PACS")
    ae.add_supported_context(Verification)
    for sop_class in classes:
        ae.add_supported_context(sop_class, syntaxes)
    for name, value in settings.items():
        setattr(ae, name, value)
    handlers = [(evt.EVT_C_STORE, peer.on_store), (evt.EVT_ESTABLISHED, peer.on_established)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        shut_down(server)


@pytest.fixture(autouse=True)
def _switches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the process its switches back: the sender takes it for its own."""
    for switch in ("STORE_SEND_CHUNKED_DATASET", "LOG_HANDLER_LEVEL"):
        monkeypatch.setattr(_config, switch, getattr(_config, switch))
    level = logging.getLogger("pynetdicom").level
    yield
    logging.getLogger("pynetdicom").setLevel(level)


@contextmanager
def sending(port: int, **settings: Any) -> Iterator[StorageSCU]:  # noqa: ANN401 - RemoteAE's
    settings = {"ae_title": "PACS", "connect_timeout": 5.0, "acse_timeout": 5.0, "dimse_timeout": 20.0, **settings}
    sender = StorageSCU(RemoteAE(host="127.0.0.1", port=port, calling_ae_title="NODE", **settings))
    try:
        yield sender
    finally:
        sender.close()


@contextmanager
def bare(behaviour: Callable[[socket.socket], None]) -> Iterator[int]:
    """Accept one connection and do with it as told."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                behaviour(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def until_the_end(connection: socket.socket) -> None:
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        pass


@pytest.mark.parametrize("path", [CT, MR_IMPLICIT, MR_RLE])
def test_a_file_whose_syntax_is_accepted_arrives_as_it_is(path: Path) -> None:
    peer = Peer()
    with listening(peer, [RLELossless, *NATIVE]) as port, sending(port) as sender:
        assert sender.send(path, instance_of(path)) == StoreStatus(0x0000)
    instance = instance_of(path)
    assert peer.received == [(instance.sop_instance_uid, instance.transfer_syntax_uid, encoded(path))]


def test_dcmtk_receives_what_was_sent(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    command = ["storescp", "+xa", "-od", str(tmp_path), str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as storescp, sending(port) as sender:
        try:
            while True:
                try:
                    sender.echo()
                    break
                except DestinationDown:
                    assert storescp.poll() is None
            for path in (CT, MR_IMPLICIT, MR_RLE):
                assert sender.send(path, instance_of(path)).delivered
        finally:
            sender.close()
            storescp.terminate()
    stored = {dcmread(path).SOPInstanceUID: dcmread(path) for path in tmp_path.iterdir()}
    for path in (CT, MR_RLE):
        sent = dcmread(path)
        assert stored[sent.SOPInstanceUID].PixelData == sent.PixelData


def test_a_large_file_is_not_read_faster_than_the_peer_takes_it(tmp_path: Path) -> None:
    dataset = dcmread(CT)
    dataset.Rows = dataset.Columns = 4096
    dataset.PixelData = os.urandom(2 * 4096 * 4096)
    path = tmp_path / "large.dcm"
    dataset.save_as(path)
    peer = Peer()
    waiting: list[int] = []

    with listening(peer) as port, sending(port) as sender:
        sender.send(CT, instance_of(CT))
        queued = sender._association.dul.to_provider_queue  # type: ignore[union-attr] # noqa: SLF001 - what is in memory
        put = queued.put

        def counting(item: object, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
            put(item, block, timeout)
            waiting.append(queued.qsize())

        queued.put = counting
        sender.send(path, instance_of(path))
    assert len(waiting) > 200
    assert max(waiting) <= 17
    assert peer.received[1][2] == encoded(path)


def test_an_association_is_used_again_and_opened_anew_for_what_it_lacks() -> None:
    peer = Peer()
    with listening(peer, [RLELossless, *NATIVE]) as port, sending(port) as sender:
        for _ in range(3):
            sender.send(CT, instance_of(CT))
        assert peer.associations == 1
        sender.send(MR_RLE, instance_of(MR_RLE))
        assert peer.associations == 2
        sender.send(CT, instance_of(CT))
        assert peer.associations == 2


def test_contexts_told_in_advance_need_no_second_association() -> None:
    peer = Peer()
    with listening(peer, [RLELossless, *NATIVE]) as port, sending(port) as sender:
        sender.send(CT, instance_of(CT), [(MRImageStorage, RLELossless)])
        sender.send(MR_RLE, instance_of(MR_RLE))
    assert peer.associations == 1


def test_more_contexts_than_an_association_has_leave_room_for_the_one_that_is_needed() -> None:
    peer = Peer()
    many = [(f"1.2.840.10008.5.1.4.1.1.{number}", ExplicitVRLittleEndian) for number in range(500, 800)]
    with listening(peer) as port, sending(port) as sender:
        assert sender.send(CT, instance_of(CT), many).delivered


def test_an_association_that_the_peer_ended_is_opened_anew() -> None:
    peer = Peer()
    with listening(peer, network_timeout=0.2) as port, sending(port) as sender:
        sender.send(CT, instance_of(CT))
        sender._association.join()  # type: ignore[union-attr] # noqa: SLF001 - ends when the peer's time-out does
        assert sender.send(CT, instance_of(CT)).delivered
    assert peer.associations == 2


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_implicit.dcm", "CT_small.dcm", "MR_small_jp2klossless.dcm"]
)
def test_a_destination_with_one_native_syntax_gets_the_same_pixels_and_uid(name: str, syntax: UID) -> None:
    path = Path(str(get_testdata_file(name)))
    peer = Peer()
    got: list[Any] = []
    peer.answer = lambda event: got.append((event.dataset, event.file_meta)) or 0x0000  # type: ignore[func-returns-value]
    with listening(peer, [syntax]) as port, sending(port) as sender:
        assert sender.send(path, instance_of(path)) == StoreStatus(0x0000)
    dataset, dataset.file_meta = got[0]
    sent = dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert dataset.SOPInstanceUID == sent.SOPInstanceUID
    assert (dataset.pixel_array == sent.pixel_array).all()


def test_what_fits_nothing_the_destination_accepts_is_held() -> None:
    with (
        listening(Peer(), [DeflatedExplicitVRLittleEndian]) as port,
        sending(port) as sender,
        pytest.raises(Hold, match="accepts none of"),
    ):
        sender.send(CT, instance_of(CT), [(SecondaryCaptureImageStorage, DeflatedExplicitVRLittleEndian)])


def test_a_class_that_is_not_accepted_is_held_and_others_go_on() -> None:
    peer = Peer()
    with listening(peer, classes=[CTImageStorage]) as port, sending(port) as sender:
        with pytest.raises(Hold, match="accepts none of"):
            sender.send(MR_IMPLICIT, instance_of(MR_IMPLICIT))
        assert sender.send(CT, instance_of(CT)).delivered


def test_the_priority_is_said_in_the_request_and_is_medium_otherwise() -> None:
    said: list[int] = []
    peer = Peer(lambda event: said.append(event.request.Priority) or 0x0000)  # type: ignore[func-returns-value]
    with listening(peer) as port, sending(port) as sender:
        sender.send(CT, instance_of(CT))
        for priority in Priority:
            sender.send(CT, instance_of(CT), priority=priority)
    assert said == [0, 0, 1, 2]


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_are_deliveries(status: int) -> None:
    with listening(Peer(lambda _event: status)) as port, sending(port) as sender:
        assert sender.send(CT, instance_of(CT)) == StoreStatus(status)


@pytest.mark.parametrize(
    ("status", "failures", "error"),
    [
        (0xA700, 0, DestinationBusy),
        (0xA7AB, 99, DestinationBusy),
        (0x0110, 99, Defer),
        (0x0213, 99, DestinationBusy),
        (0xA900, 0, Hold),
        (0xA9FF, 0, Hold),
        (0x0117, 0, Hold),
        (0x0122, 0, Hold),
        (0x0124, 0, Hold),
        (0x0211, 0, Hold),
        (0x0212, 0, Hold),
        (0xC000, 0, Defer),
        (0xC123, 1, Defer),
        (0xC123, 2, Hold),
        (0xFE00, 0, Defer),
        (0xFE00, 2, Hold),
    ],
)
def test_refusals_are_tried_again_or_held_as_the_table_says(status: int, failures: int, error: type[Exception]) -> None:
    with listening(Peer(lambda _event: status)) as port, sending(port) as sender:
        with pytest.raises(error, match=f"{status:04X}H") as caught:
            sender.send(CT, instance_of(CT), failures=failures)
        assert type(caught.value) is error


def test_an_abort_in_the_middle_leaves_the_outcome_unknown_and_the_next_try_works() -> None:
    aborts = iter([True])

    def answer(event: Event) -> int:
        if next(aborts, False):
            event.assoc.abort()
        return 0x0000

    with listening(Peer(answer)) as port, sending(port) as sender:
        with pytest.raises(Defer, match="outcome unknown") as caught:
            sender.send(CT, instance_of(CT))
        assert not isinstance(caught.value, DestinationDown)
        assert sender.send(CT, instance_of(CT)).delivered


def test_a_peer_that_never_answers_is_given_up() -> None:
    done = threading.Event()
    with listening(Peer(lambda _event: 0 if done.wait(60) else 1)) as port:
        with sending(port, dimse_timeout=0.3) as sender, pytest.raises(Defer, match="outcome unknown"):
            sender.send(CT, instance_of(CT))
        done.set()


def test_a_destination_where_nobody_listens_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with sending(port) as sender:
        with pytest.raises(DestinationDown):
            sender.send(CT, instance_of(CT))
        with pytest.raises(DestinationDown):
            sender.echo()


def test_a_destination_whose_name_nobody_knows_is_down() -> None:
    sender = StorageSCU(RemoteAE("PACS", "no-such-host.invalid", 104, "NODE"))
    with pytest.raises(DestinationDown):
        sender.echo()


def test_a_peer_that_hangs_up_at_once_is_down() -> None:
    with bare(socket.socket.close) as port, sending(port) as sender, pytest.raises(DestinationDown):
        sender.send(CT, instance_of(CT))


def test_a_peer_that_accepts_the_connection_and_is_silent_is_down() -> None:
    with bare(until_the_end) as port, sending(port, acse_timeout=0.3) as sender, pytest.raises(DestinationDown):
        sender.send(CT, instance_of(CT))


def test_half_an_answer_does_not_hold_the_sender_for_ever() -> None:
    def half(connection: socket.socket) -> None:
        connection.sendall(b"\x02\x00\x00\x00\x01\x00half")
        until_the_end(connection)

    settings = {"acse_timeout": 0.3, "dimse_timeout": 0.5}
    with bare(half) as port, sending(port, **settings) as sender, pytest.raises(DestinationDown):
        sender.send(CT, instance_of(CT))


def test_a_title_that_is_not_recognised_is_the_whole_destination_s_trouble() -> None:
    strict = listening(Peer(), require_called_aet=True)
    with strict as port, sending(port, ae_title="OTHER") as sender, pytest.raises(DestinationDown, match="rejected"):
        sender.send(CT, instance_of(CT))


def test_a_peer_with_too_many_associations_is_down_for_now() -> None:
    with listening(Peer(), maximum_associations=1) as port, sending(port) as first, sending(port) as second:
        first.send(CT, instance_of(CT))
        with pytest.raises(DestinationDown, match="rejected"):
            second.send(CT, instance_of(CT))


def test_an_echo_is_answered() -> None:
    with listening(Peer()) as port, sending(port) as sender:
        assert sender.echo() > 0


def test_a_file_without_its_meta_information_is_held(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(bytes(128) + b"DICM" + encoded(CT))
    with listening(Peer()) as port, sending(port) as sender:
        with pytest.raises(Hold, match="File Meta Information"):
            sender.send(path, instance_of(CT))
        assert sender.send(CT, instance_of(CT)).delivered


def test_errors_quote_no_element_value() -> None:
    with listening(Peer(lambda _event: 0xA900)) as port, sending(port) as sender, pytest.raises(Hold) as caught:
        sender.send(CT, instance_of(CT))
    sent = dcmread(CT)
    assert not any(str(value) in str(caught.value) for value in (sent.SOPInstanceUID, sent.PatientID, sent.PatientName))
