"""Command sets and PDUs as they stand on the wire, beside pynetdicom's and those of the tests."""

from __future__ import annotations

import socket
import struct
from io import BytesIO

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dimse_messages import C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode as decode_data_set
from pynetdicom.sop_class import CTImageStorage, ModalityWorklistInformationFind, Verification

from dicom_node.storage_scp_message import Command, Field, decode, response
from dicom_node.storage_scp_negotiation import Context, Request
from dicom_node.storage_scp_stream import Stream
from tests.support.wire import C_STORE_RQ, NO_DATA_SET, associate_rq, command_set, pdu

REQUEST = Command(Field.C_STORE_RQ, 7, CTImageStorage, "1.2.3", has_data_set=True)


def test_a_command_set_is_read() -> None:
    assert decode(command_set(C_STORE_RQ, CTImageStorage, "1.2.3")) == REQUEST._replace(message_id=1)
    assert not decode(command_set(C_STORE_RQ, CTImageStorage, "1.2.3", NO_DATA_SET)).has_data_set


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff" * 40,
        command_set(C_STORE_RQ, CTImageStorage)[:-1],
        struct.pack("<HHI", 8, 0x100, 2) + b"\1\0",
    ],
)
def test_what_is_no_command_set_is_not_taken_for_one(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a command set"):
        decode(content)


@pytest.mark.parametrize(("status", "comment"), [(0, ""), (0xA700, "no room")])
@pytest.mark.parametrize("longest", [0, 16384, 40, 7])
def test_a_response_is_what_pynetdicom_makes_of_it_in_pdus_that_the_peer_takes(
    status: int, comment: str, longest: int
) -> None:
    told = response(REQUEST, 3, status, comment, longest)
    encoded, controls = b"", []
    while told:
        kind, length, size, context, control = struct.unpack_from(">BxIIBB", told)
        assert (kind, context, size) == (4, 3, length - 4)
        assert length <= longest or not longest
        encoded, told = encoded + told[12 : 6 + length], told[6 + length :]
        controls.append(control)
    assert controls == [1] * (len(controls) - 1) + [3]
    expected = C_STORE()
    expected.MessageIDBeingRespondedTo, expected.Status = 7, status
    expected.AffectedSOPClassUID, expected.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
    if comment:
        expected.ErrorComment = comment
    message = C_STORE_RSP()
    message.primitive_to_message(expected)
    ours = decode_data_set(BytesIO(encoded), True, True)  # noqa: FBT003 - pynetdicom's signature
    assert ours == message.command_set


def test_a_response_does_not_repeat_what_is_too_long_to_be_a_uid() -> None:
    request = REQUEST._replace(sop_class_uid="1" * 65, sop_instance_uid="2" * 60_000)
    assert len(response(request, 1, 0x0117, "the SOP Instance UID is not a UID", longest=7)) < 2048
    longest_uid = REQUEST._replace(sop_instance_uid="1." + "2" * 62)
    assert longest_uid.sop_instance_uid.encode() in response(longest_uid, 1, 0, "", longest=0)


def test_contexts_are_accepted_by_what_is_served_and_by_what_carries_pixels() -> None:
    request = Request(associate_rq(CTImageStorage, ["1.2.840.10008.1.2.4.94", ExplicitVRLittleEndian]))
    assert request.contexts == {
        1: Context(CTImageStorage, ExplicitVRLittleEndian),
        3: Context(Verification, ImplicitVRLittleEndian),
    }
    assert set(Request(associate_rq(ModalityWorklistInformationFind)).contexts) == {3}


def test_a_pdu_comes_in_pieces_that_are_all_of_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(pdu(4, b"123456789") + pdu(5, b"") + pdu(4, b"abc"))
        stream = Stream(ours, 60)
        assert stream.pdu(100) == (4, 9)
        assert stream.read(2) == b"12"
        rest = memoryview(bytearray(9))
        assert (stream.read_into(rest[:3]), stream.read_into(rest[3:7])) == (3, 4)
        assert bytes(rest[:7]) == b"3456789"
        assert stream.pdu(100) == (5, 0)
        assert stream.pdu(100) == (4, 3)
        stream.skip(3)
        theirs.sendall(pdu(4, b"x")[:3])
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            stream.pdu(100)


def test_a_pdu_that_is_too_long_is_not_read() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(pdu(4, bytes(11)))
        with pytest.raises(ValueError, match="too long"):
            Stream(ours, 60).pdu(10)
