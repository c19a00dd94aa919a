"""A peer that speaks the upper layer byte by byte (PS3.8 9.3, PS3.7 9.3), so that it can also speak it wrongly."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import CTImageStorage, Verification

from tests.support.node import AE_TITLE

if TYPE_CHECKING:
    from collections.abc import Sequence

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
C_STORE_RQ, C_FIND_RQ, C_ECHO_RQ, N_EVENT_REPORT_RQ = 0x0001, 0x0020, 0x0030, 0x0100
DATA_SET, NO_DATA_SET = 0x0001, 0x0101
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
FIRST, SECOND = 1, 3
"""Ids of the presentation contexts that :func:`associate_rq` proposes: of the instance, and of Verification."""

SILENCE = 60.0
"""Seconds after which a test gives up on the node; nothing is measured with it."""


def pdu(kind: int, content: bytes) -> bytes:
    """Encode a PDU."""
    return struct.pack(">BBI", kind, 0, len(content)) + content


def associate_rq(
    sop_class: str = CTImageStorage,
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian,),
    called: str = AE_TITLE,
    calling: str = "STRANGER",
) -> bytes:
    """Encode an A-ASSOCIATE-RQ for one SOP class and Verification."""
    contexts = _context(FIRST, sop_class, syntaxes) + _context(SECOND, Verification, (ImplicitVRLittleEndian,))
    user = _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3"))
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    fixed = struct.pack(">HH", 1, 0) + titles + bytes(32)
    return pdu(ASSOCIATE_RQ, fixed + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


def p_data(content: bytes, *, command: bool = False, last: bool = True, context: int = FIRST) -> bytes:
    """Encode a P-DATA-TF of one fragment."""
    return pdu(P_DATA_TF, struct.pack(">IBB", len(content) + 2, context, command | last << 1) + content)


def command_set(field: int, sop_class: str, sop_instance: str = "", data_set: int = DATA_SET) -> bytes:
    """Encode the command set of a request."""
    elements = _element(0x0002, _uid(sop_class)) + _element(0x0100, struct.pack("<H", field))
    elements += _element(0x0110, struct.pack("<H", 1)) + _element(0x0700, struct.pack("<H", 0))
    elements += _element(0x0800, struct.pack("<H", data_set))
    elements += _element(0x1000, _uid(sop_instance)) if sop_instance else b""
    return _element(0x0000, struct.pack("<I", len(elements))) + elements


class Wire:
    """A connection to a node."""

    def __init__(self, port: int, source: str = "127.0.0.1", receive_buffer: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(SILENCE)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pdus: bytes) -> bool:
        """Send; False when the node has hung up."""
        try:
            for content in pdus:
                self.socket.sendall(content)
        except ConnectionError:
            return False
        return True

    def associate(self, request: bytes | None = None) -> int:
        """Ask for an association, and return the type of the answer; 0 when the node hung up."""
        self.send(request or associate_rq())
        return self.receive()[0]

    def store(self, sop_class: str, sop_instance: str, data_set: bytes, length: int = 16000) -> int | None:
        """Send an instance; return the status, None when the node ended the association."""
        self.send(p_data(command_set(C_STORE_RQ, sop_class, sop_instance), command=True))
        for start in range(0, max(len(data_set), 1), length):
            self.send(p_data(data_set[start : start + length], last=start + length >= len(data_set)))
        return self.status()

    def echo(self) -> int | None:
        """C-ECHO; return the status."""
        told = command_set(C_ECHO_RQ, Verification, data_set=NO_DATA_SET)
        self.send(p_data(told, command=True, context=SECOND))
        return self.status()

    def status(self) -> int | None:
        """Return the status of the next response; None when there is none."""
        kind, content = self.receive()
        return _status(content) if kind == P_DATA_TF else None

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def statuses(self) -> list[int]:
        """Return the statuses of all responses until the connection ends."""
        found = []
        while (received := self.receive())[0]:
            status = _status(received[1]) if received[0] == P_DATA_TF else None
            found += [] if status is None else [status]
        return found

    def receive(self) -> tuple[int, bytes]:
        """Receive a PDU: its type and content; type 0 when the node hung up."""
        header = self._exactly(6)
        if len(header) < 6:
            return 0, b""
        kind, _, length = struct.unpack(">BBI", header)
        return kind, self._exactly(length)

    def hung_up(self) -> bool:
        """Wait until the node ends the connection."""
        with suppress(ConnectionError):
            while self.socket.recv(1 << 16):
                pass
        return True

    def _exactly(self, count: int) -> bytes:
        content = b""
        with suppress(ConnectionError):
            while len(content) < count and (piece := self.socket.recv(count - len(content))):
                content += piece
        return content


def _status(response: bytes) -> int | None:
    """Find the status (0000,0900) in a response; what comes before it in a command set has no such bytes."""
    where = response.rfind(struct.pack("<HHI", 0x0000, 0x0900, 2))
    return None if where < 0 else int(struct.unpack_from("<H", response, where + 8)[0])


def _context(number: int, sop_class: str, syntaxes: Sequence[str]) -> bytes:
    items = _item(0x30, sop_class.encode()) + b"".join(_item(0x40, syntax.encode()) for syntax in syntaxes)
    return _item(0x20, struct.pack(">BBBB", number, 0, 0, 0) + items)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0x0000, number, len(value)) + value


def _uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)
