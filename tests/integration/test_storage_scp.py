"""The receiver as its peers know it: real associations, a real queue, dcmtk's tools."""

from __future__ import annotations

import gc
import logging
import socket
import struct
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pydicom.config
import pytest
import structlog
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation
from pynetdicom.sop_class import CTImageStorage, ModalityWorklistInformationFind, Verification

from dicom_node.config import Receive
from dicom_node.errors import ConfigurationError
from dicom_node.model import State
from dicom_node.queue import Ledger, Queue, Spool
from dicom_node.storage_scp import StorageSCP
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pynetdicom.association import Association

CT = Path(str(get_testdata_file("CT_small.dcm")))
JPIPReferenced = UID("1.2.840.10008.1.2.4.94")
PRIVATE = UID("1.3.6.1.4.1.99999.1.2.3")
SILENCE = 30.0
"""Seconds after which a test gives up on a peer; nothing is measured with it."""


@dataclass(frozen=True)
class Node:
    """A receiver that is running, and the sockets of those who have called it."""

    scp: StorageSCP
    queue: Queue
    port: int
    sockets: list[socket.socket] = field(default_factory=list)

    def associate(self, *contexts: tuple[str, Sequence[str]], **settings: Any) -> Association:  # noqa: ANN401 - pynetdicom's
        ae = AE(settings.pop("calling", "MODALITY"))
        requested = [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in contexts]
        called = settings.pop("called", "DICOM_NODE")
        # pynetdicom as requestor does not close a socket that the peer has closed first.
        settings["evt_handlers"] = [
            (evt.EVT_CONN_OPEN, lambda event: self.sockets.append(event.assoc.dul.socket.socket))
        ]
        return ae.associate("127.0.0.1", self.port, requested or [build_context(Verification)], called, **settings)

    def store(self, path: Path) -> Dataset:
        """Send a file as it is, and return the response."""
        meta = dcmread(path, stop_before_pixels=True, specific_tags=[]).file_meta
        association = self.associate((meta.MediaStorageSOPClassUID, [meta.TransferSyntaxUID]))
        response: Dataset = association.send_c_store(path)
        association.release()
        return response

    @property
    def entry_ids(self) -> list[str]:
        return [summary.entry.id for summary in self.queue.ledger.entries()]

    @property
    def incoming(self) -> list[Path]:
        return list(self.queue.spool.incoming.iterdir())


class Start(Protocol):
    """Starts a receiver, with settings of its own."""

    def __call__(self, minimum_free_bytes: int = 0, **settings: object) -> Node: ...


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    for switch in ("STORE_RECV_CHUNKED_DATASET", "UNRESTRICTED_STORAGE_SERVICE", "LOG_HANDLER_LEVEL"):
        monkeypatch.setattr(_config, switch, getattr(_config, switch))
    for mode in ("_reading_validation_mode", "_writing_validation_mode"):
        monkeypatch.setattr(pydicom.config.settings, mode, getattr(pydicom.config.settings, mode))
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    level = logging.getLogger("pynetdicom").level
    nodes: list[Node] = []

    def start_one(minimum_free_bytes: int = 0, **settings: object) -> Node:
        root = tmp_path / str(len(nodes))
        queue = Queue(Spool(root / "spool", minimum_free_bytes), Ledger(f"sqlite:///{root / 'ledger.db'}"))
        queue.spool.prepare()
        queue.ledger.create()
        # Port 0, which the configuration does not have: the system chooses.
        receive = Receive(host="127.0.0.1").model_copy(update={"port": 0, **settings})
        scp = StorageSCP(receive, queue)
        nodes.append(Node(scp, queue, scp.start()[1]))
        return nodes[-1]

    yield start_one
    for node in nodes:
        node.scp.drain(0)
        node.queue.ledger.close()
        for peer in node.sockets:
            peer.close()
    logging.getLogger("pynetdicom").setLevel(level)


def crafted(path: Path, content: bytes, sop_class: str = CTImageStorage, sop_instance: str = "1.2.3.4") -> Path:
    """Write a file whose data set is ``content``, whatever its File Meta Information says."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), UID(sop_instance)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("1.2.3")
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_file_meta_info(buffer, meta)
    path.write_bytes(bytes(128) + b"DICM" + buffer.getvalue() + content)
    return path


def encoded(sop_class: str = CTImageStorage, sop_instance: str = "1.2.3.4") -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), UID(sop_instance)
    dataset.PatientName = "SECRET^NAME"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID("1.2.3.5"), UID("1.2.3.6")
    dataset.add_new(0x7FE00010, "OW", bytes(1000))
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def dataset_of(path: Path) -> bytes:
    """Return what comes after the File Meta Information."""
    content = path.read_bytes()
    return content[144 + struct.unpack_from("<I", content, 140)[0] :]


def answered(node: Node, **settings: Any) -> Association:  # noqa: ANN401 - pynetdicom's
    """Associate, again where pynetdicom takes a rejection that comes before it waits for one for a lost connection."""
    while (association := node.associate(**settings)).acceptor.primitive is None:
        pass
    return association


def _peer_of(one: socket.socket) -> object:
    try:
        return one.getpeername()
    except OSError:
        return None


def hung_up(peer: socket.socket) -> bool:
    """Wait until the node ends a connection."""
    peer.settimeout(SILENCE)
    try:
        while peer.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_implicit.dcm",
        "MR_small_RLE.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "image_dfl.dcm",
        "reportsi.dcm",
    ],
)
def test_after_success_the_bytes_stand_in_the_spool_as_they_were_sent(start: Start, name: str) -> None:
    node = start()
    source = Path(str(get_testdata_file(name)))
    assert node.store(source).Status == 0x0000
    (entry_id,) = node.entry_ids
    with node.queue.spool.original_file(entry_id) as stored:
        assert dataset_of(stored) == dataset_of(source)
        meta, sent = dcmread(stored).file_meta, dcmread(source).file_meta
    assert meta.TransferSyntaxUID == sent.TransferSyntaxUID
    assert meta.MediaStorageSOPInstanceUID == sent.MediaStorageSOPInstanceUID
    assert not node.incoming


def test_the_ledger_knows_who_sent_what_to_whom(start: Start) -> None:
    node = start(any_called_ae_title=True)
    association = node.associate((CTImageStorage, [ExplicitVRLittleEndian]), calling="SCANNER", called="PACS")
    association.send_c_store(CT)
    association.release()
    (summary,) = node.queue.ledger.entries()
    origin, instance, sent = summary.entry.origin, summary.entry.instance, dcmread(CT)
    assert (origin.calling_ae_title, origin.called_ae_title, origin.peer_address) == ("SCANNER", "PACS", "127.0.0.1")
    assert instance.sop_instance_uid == sent.SOPInstanceUID
    assert instance.transfer_syntax_uid == ExplicitVRLittleEndian
    assert summary.entry.state is State.RECEIVED


def test_the_same_instance_again_is_answered_with_success_and_kept_once(start: Start) -> None:
    node = start()
    assert [node.store(CT).Status, node.store(CT).Status] == [0x0000, 0x0000]
    assert len(node.entry_ids) == 1
    assert not node.incoming


def test_dcmtk_stores_and_verifies(start: Start) -> None:
    node = start()
    here = ["-aec", "DICOM_NODE", "127.0.0.1", str(node.port)]
    subprocess.run(["echoscu", *here], check=True, capture_output=True, timeout=SILENCE)
    subprocess.run(["storescu", "-xe", *here, str(CT)], check=True, capture_output=True, timeout=SILENCE)
    assert len(node.entry_ids) == 1


@pytest.mark.parametrize(
    ("proposed", "expected"),
    [
        ([JPEGBaseline8Bit, ImplicitVRLittleEndian], JPEGBaseline8Bit),
        ([HTJ2KLossless, ExplicitVRLittleEndian], HTJ2KLossless),
        ([ExplicitVRLittleEndian, ImplicitVRLittleEndian], ExplicitVRLittleEndian),
        ([JPIPReferenced, ExplicitVRLittleEndian], ExplicitVRLittleEndian),
        ([PRIVATE, JPIPReferenced, RLELossless, ImplicitVRLittleEndian], RLELossless),
    ],
)
def test_the_senders_first_syntax_that_carries_pixels_is_taken(
    start: Start, proposed: list[str], expected: str
) -> None:
    association = start().associate((CTImageStorage, proposed))
    (context,) = association.accepted_contexts
    association.release()
    assert context.transfer_syntax == [expected]


@pytest.mark.parametrize("proposed", [[JPIPReferenced], [PRIVATE]])
def test_a_syntax_without_known_pixels_is_not_accepted(start: Start, proposed: list[str]) -> None:
    association = start().associate((Verification, [ImplicitVRLittleEndian]), (CTImageStorage, proposed))
    (context,) = association.rejected_contexts
    association.release()
    assert (context.abstract_syntax, context.result) == (CTImageStorage, 4)


@pytest.mark.parametrize(
    "sop_class",
    [PRIVATE, "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.4.1.1.5"],
)
def test_private_and_retired_storage_classes_are_received(start: Start, tmp_path: Path, sop_class: str) -> None:
    node = start()
    assert node.store(crafted(tmp_path / "x", encoded(sop_class), sop_class)).Status == 0x0000
    assert len(node.entry_ids) == 1


def test_other_services_are_not_offered(start: Start) -> None:
    implicit = [ImplicitVRLittleEndian]
    association = start().associate((ModalityWorklistInformationFind, implicit), (Verification, implicit))
    (context,) = association.rejected_contexts
    association.release()
    assert (context.abstract_syntax, context.result) == (ModalityWorklistInformationFind, 3)


@pytest.mark.parametrize(
    ("status", "content", "sop_instance"),
    [
        (0xC000, b"\xff" * 37, "1.2.3.4"),
        (0xC000, encoded()[:-1], "1.2.3.4"),
        (0xC000, encoded(), "1.2.3.99"),
        (0xA900, encoded("1.2.840.10008.5.1.4.1.1.4"), "1.2.3.4"),
        (0x0117, encoded(sop_instance="../../etc/x"), "../../etc/x"),
    ],
)
def test_what_cannot_be_right_is_refused_and_leaves_nothing(
    start: Start, tmp_path: Path, status: int, content: bytes, sop_instance: str
) -> None:
    node = start()
    response = node.store(crafted(tmp_path / "x", content, sop_instance=sop_instance))
    assert response.Status == status
    assert response.ErrorComment
    assert not any(secret in response.ErrorComment for secret in ("SECRET", "1.2.3", "etc"))
    assert not node.entry_ids
    assert not node.incoming
    assert node.store(CT).Status == 0x0000


def test_without_room_the_sender_keeps_its_copy(start: Start) -> None:
    node = start(minimum_free_bytes=1 << 62)
    assert node.store(CT).Status == 0xA700
    assert not node.entry_ids
    assert not node.incoming


def test_without_a_ledger_the_sender_keeps_its_copy(start: Start, tmp_path: Path) -> None:
    node = start()
    node.queue.ledger.close()
    for file in (tmp_path / "0").glob("ledger.db*"):
        file.unlink()
    (tmp_path / "0" / "ledger.db").mkdir()
    assert node.store(CT).Status == 0xA700
    assert not node.incoming


def test_an_unexpected_failure_is_answered_as_one_and_leaves_nothing(start: Start, tmp_path: Path) -> None:
    node = start()
    (tmp_path / "0" / "spool" / "received").rename(tmp_path / "gone")
    (tmp_path / "0" / "spool").joinpath("received").touch()
    assert node.store(CT).Status in {0x0110, 0xA700}
    assert not node.incoming


@pytest.mark.parametrize(
    ("settings", "calling", "called", "welcome"),
    [
        ({}, "MODALITY", "DICOM_NODE", True),
        ({}, "MODALITY", "SOMEBODY", False),
        ({"called_ae_titles": ("SOMEBODY",)}, "MODALITY", "SOMEBODY", True),
        ({"called_ae_titles": ("SOMEBODY",)}, "MODALITY", "DICOM_NODE", True),
        ({"any_called_ae_title": True}, "MODALITY", "WHOEVER", True),
        ({"calling_ae_titles": ("MODALITY",)}, "MODALITY", "DICOM_NODE", True),
        ({"calling_ae_titles": ("MODALITY",)}, "STRANGER", "DICOM_NODE", False),
        ({"networks": ("127.0.0.0/8",)}, "MODALITY", "DICOM_NODE", True),
        ({"networks": ("10.0.0.0/8",)}, "MODALITY", "DICOM_NODE", False),
    ],
)
def test_only_who_is_configured_gets_in(
    start: Start, settings: dict[str, Any], calling: str, called: str, *, welcome: bool
) -> None:
    association = start(**settings).associate(calling=calling, called=called)
    is_established = association.is_established
    association.release()
    assert is_established is welcome


def test_titles_that_are_not_ours_are_rejected_for_good(start: Start) -> None:
    node = start(calling_ae_titles=("MODALITY",))
    answers = [answered(node, called="SOMEBODY"), answered(node, calling="STRANGER")]
    reasons = [(a.acceptor.primitive.result, a.acceptor.primitive.diagnostic) for a in answers]
    assert reasons == [(1, 7), (1, 3)]


def test_one_association_too_many_is_rejected_for_now(start: Start) -> None:
    node = start(maximum_associations=1)
    first = node.associate()
    second = answered(node)
    assert first.is_established
    assert second.acceptor.primitive.result == 2
    first.release()


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_a_user_that_cannot_be_checked_is_not_let_in(start: Start, kind: int) -> None:
    """By name, with a password, by Kerberos, SAML and JWT (PS3.7 D.3.3.7)."""
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = kind, b"somebody"
    identity.secondary_field = b"secret" if kind == 2 else b""
    association = answered(start(), ext_neg=[identity])
    answer = association.acceptor.primitive
    assert association.is_rejected
    assert (answer.result_source, answer.diagnostic) == (2, 1)


def test_a_peer_has_its_share_of_associations_and_is_told_to_come_again(start: Start) -> None:
    node = start(maximum_associations_per_peer=1)
    first = node.associate()
    second = answered(node)
    assert first.is_established
    answer = second.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    first.release()


def test_operations_go_one_at_a_time(start: Start) -> None:
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 8
    association = start().associate(ext_neg=[window])
    answered = association.acceptor.asynchronous_operations
    association.release()
    assert answered == (1, 1)
    assert any(isinstance(item, type(window)) for item in association.acceptor.primitive.user_information)


def test_half_an_association_request_does_not_hold_its_slot(start: Start) -> None:
    node = start(maximum_associations=1, network_timeout=0.5)
    with socket.create_connection(("127.0.0.1", node.port)) as peer:
        peer.sendall(b"\x01\x00\x00\x00\x01\x00" + b"half")
        assert hung_up(peer)
        association = node.associate()
        assert association.is_established
        association.release()


@pytest.mark.parametrize("pdu_type", [b"\x01", b"\x04"])
def test_a_giant_pdu_is_not_read(start: Start, pdu_type: bytes) -> None:
    node = start()
    with socket.create_connection(("127.0.0.1", node.port)) as peer:
        peer.sendall(pdu_type + b"\x00" + struct.pack(">I", 400 << 20))
        # Without sending any more: a node that wanted those bytes would wait for them.
        assert hung_up(peer)


def test_bytes_that_are_no_dicom_end_only_their_connection(start: Start) -> None:
    node = start(network_timeout=0.5)
    with socket.create_connection(("127.0.0.1", node.port)) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert hung_up(peer)
    assert node.store(CT).Status == 0x0000


def test_a_peer_that_dies_in_the_middle_leaves_no_file(start: Start) -> None:
    node = start(maximum_pdu_length=4096)
    association = node.associate((CTImageStorage, [ExplicitVRLittleEndian]))
    begun: list[Path] = []
    pdus = count(1)

    def die(pdu: Any) -> None:  # noqa: ANN401 - pynetdicom's
        """Let through a quarter, more than it takes until there is a file, and cut the line then."""
        send(pdu)
        if next(pdus) == 512:
            wait_until("there is a file", lambda: bool(node.incoming))
            begun.extend(node.incoming)
            node.sockets[0].shutdown(socket.SHUT_RDWR)

    send, association.dul.send_pdu = association.dul.send_pdu, die
    large = dcmread(CT)
    large.Rows = large.Columns = 2048
    large.PixelData = bytes(2 * 2048**2)
    association.send_c_store(large)
    assert begun
    node.scp.drain(SILENCE)
    # The association's thread is over a moment before the one that cleans up after it.
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(SILENCE)
    assert not node.incoming
    assert not node.entry_ids


def test_a_request_that_is_not_whole_leaves_no_file_while_its_association_goes_on(start: Start) -> None:
    node = start()
    association = node.associate((CTImageStorage, [ExplicitVRLittleEndian]))
    (context,) = association.accepted_contexts
    request = C_STORE()
    # Without a Message ID.
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, "1.2.3.4"
    request.DataSet = BytesIO(encoded())
    association.dimse.send_msg(request, context.context_id)
    assert association.send_c_store(CT).Status == 0x0000
    assert not node.incoming
    association.release()


def test_a_message_that_cannot_be_decoded_ends_only_its_association(start: Start) -> None:
    node = start()
    association = node.associate()
    # A P-DATA-TF with the last fragment of a command set that is none.
    content = struct.pack(">IBB", 6, 1, 3) + b"\xff\xff\xff\xff"
    association.dul.socket.socket.sendall(b"\x04\x00" + struct.pack(">I", len(content)) + content)
    association.join(SILENCE)
    assert association.is_aborted
    assert node.store(CT).Status == 0x0000


def test_connections_time_out_and_do_not_wait_for_nagle(start: Start) -> None:
    node = start(network_timeout=17.0)
    association = node.associate()
    ours = association.dul.socket.socket.getsockname()
    (accepted,) = (one for one in gc.get_objects() if isinstance(one, socket.socket) and _peer_of(one) == ours)
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        assert accepted.getsockopt(socket.SOL_SOCKET, option, 16) == struct.pack("ll", 17, 0)
    association.release()


def test_a_port_that_is_taken_is_told_before_anything_starts(start: Start) -> None:
    taken = start().port
    with pytest.raises(ConfigurationError, match=f"port {taken}: cannot be listened on"):
        start(port=taken)


def test_an_address_that_is_not_ours_is_told_before_anything_starts(start: Start) -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1 port 0: cannot be listened on"):
        start(host="192.0.2.1")


def test_a_drain_lets_an_association_finish(start: Start) -> None:
    node = start()
    association = node.associate((CTImageStorage, [ExplicitVRLittleEndian]))
    drain = threading.Thread(target=node.scp.drain, args=(SILENCE,))
    drain.start()
    # The listening socket closes first: from then on the node is draining.
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", node.port)):
                break
    assert association.send_c_store(CT).Status == 0x0000
    association.release()
    drain.join(SILENCE)
    assert not drain.is_alive()
    assert len(node.entry_ids) == 1


def test_a_drain_ends_the_associations_that_do_not(start: Start) -> None:
    node = start()
    association = node.associate()
    node.scp.drain(0)
    association.join(SILENCE)
    assert association.is_aborted
    assert node.scp.associations == 0


def test_the_log_has_one_line_for_an_instance_and_no_element_value(start: Start, tmp_path: Path) -> None:
    node = start()
    with structlog.testing.capture_logs() as lines:
        node.store(CT)
        node.store(crafted(tmp_path / "x", encoded()[:-1]))
        node.associate(called="SOMEBODY")
    stored, refused, rejected = lines
    (entry_id,) = node.entry_ids
    assert {name: stored[name] for name in ("event", "stage", "action", "status", "entry_id")} == {
        "event": "instance",
        "stage": "receive",
        "action": "received",
        "status": "0000H",
        "entry_id": entry_id,
    }
    assert (refused["action"], refused["status"]) == ("refused", "C000H")
    assert (rejected["event"], rejected["action"], rejected["reason"]) == ("association", "rejected", "called AE title")
    sent = dcmread(CT)
    for value in ("SECRET", "SOMEBODY", "MODALITY", str(sent.SOPInstanceUID), str(sent.PatientID)):
        assert value not in str(lines)
