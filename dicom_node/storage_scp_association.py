"""An association that is established (PS3.8 9.2, Sta6): one thread reads a message, stores it and answers it.

pynetdicom's own acceptor has three threads for an association, which poll a thousand times a second, hand every PDU
from one to the other and copy it six times (``docs/decisions/0011-receivers.md``).
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicom_node.queue.direct import Buffers
from dicom_node.storage_scp_commitment import ReportRequest, takes_reports
from dicom_node.storage_scp_file import IncomingFile
from dicom_node.storage_scp_message import (
    MAXIMUM_COMMAND_SET,
    Command,
    Field,
    decode,
    is_command,
    is_last,
    response,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dicom_node.storage_scp_commitment import Reports
    from dicom_node.storage_scp_negotiation import Context, Request
    from dicom_node.storage_scp_stream import Stream

ABORT, P_DATA_TF, RELEASE_RQ, RELEASE_RP = 7, 4, 5, 6
"""PDU types (PS3.8 9.3.1)."""

_PDU_LIMIT = (1 << 20) + 64
"""Longest PDU that is read, in bytes: the largest ``maximum_pdu_length``."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ whose data set has come."""

    command: Command
    context: Context
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    file: IncomingFile


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What the associations of a receiver have in common.

    Attributes
    ----------
    incoming : Path
        Where instances are written as they come.
    check_room : callable
        Raises :class:`~dicom_node.errors.SpoolFull` when nothing more of an instance may be written.
    store : callable
        Takes a request, and returns status and error comment.
    reports : Reports
        On storage commitment.
    buffers : Buffers
        Into which instances are received.
    is_aborting : threading.Event
        Set when associations are to end after what they have in hand.
    """

    incoming: Path
    check_room: Callable[[], None]
    store: Callable[[StoreRequest], tuple[int, str]]
    reports: Reports
    buffers: Buffers = field(default_factory=Buffers)
    is_aborting: threading.Event = field(default_factory=threading.Event)


class Association:
    """An association that is established: a message is answered before the next one is read.

    Parameters
    ----------
    acceptor : Acceptor
    peer : socket.socket
    stream : Stream
        Of ``peer``.
    request : Request
        What was accepted.
    address : str
        Of the peer.
    """

    def __init__(self, acceptor: Acceptor, peer: socket.socket, stream: Stream, request: Request, address: str) -> None:
        self._acceptor = acceptor
        self._peer = peer
        self._stream = stream
        self._request = request
        self._contexts: Mapping[int, Context] = request.contexts
        self._address = address
        self._command_set = b""
        self._begun: tuple[int, StoreRequest | ReportRequest] | None = None

    def serve(self) -> bool:
        """Serve until the peer releases or aborts (True), or the node has to (False)."""
        try:
            while not self._acceptor.is_aborting.is_set():
                kind, length = self._stream.pdu(_PDU_LIMIT)
                if kind == P_DATA_TF:
                    self._read_fragments(length)
                elif kind == RELEASE_RQ:
                    self._stream.skip(length)
                    self._peer.sendall(struct.pack(">BxII", RELEASE_RP, 4, 0))
                    return True
                elif kind == ABORT:
                    return True
                else:
                    raise unexpected()
            return False
        finally:
            if self._begun:
                self._begun[1].file.remove()

    def _read_fragments(self, length: int) -> None:
        """Read a P-DATA-TF (PS3.8 9.3.5)."""
        while length:
            if length < struct.calcsize(">IBB"):
                raise unexpected()
            size, context_id, control = struct.unpack(">IBB", self._stream.read(6))
            length -= 4 + size
            context = self._contexts.get(context_id)
            if length < 0 or size < struct.calcsize(">BB") or context is None:
                raise unexpected()
            if is_command(control):
                self._read_command(context_id, size - 2, ends=is_last(control))
            else:
                self._read_data_set(context_id, size - 2, ends=is_last(control))

    def _read_command(self, context_id: int, size: int, *, ends: bool) -> None:
        if self._begun or len(self._command_set) + size > MAXIMUM_COMMAND_SET:
            msg = "a second command set, or one that is too long"
            raise ValueError(msg)
        self._command_set += self._stream.read(size)
        if not ends:
            return
        command, self._command_set = decode(self._command_set), b""
        context = self._contexts[context_id]
        match command.field, command.has_data_set:
            case Field.C_ECHO_RQ, False:
                self._answer(command, context_id, 0x0000, "")
            case Field.C_STORE_RQ, True:
                self._begun = context_id, self._store_request(command, context)
            case Field.C_STORE_RQ, False:
                self._answer(command, context_id, 0xC000, "the data set is missing")
            case Field.N_EVENT_REPORT_RQ, True if takes_reports(context):
                self._begun = context_id, ReportRequest(command, context, self._request.calling_ae_title)
            case _:
                raise unexpected()

    def _read_data_set(self, context_id: int, size: int, *, ends: bool) -> None:
        if self._begun is None or self._begun[0] != context_id:
            msg = "a data set that belongs to no command"
            raise ValueError(msg)
        request = self._begun[1]
        while size:
            came = self._stream.read_into(request.file.room(size))
            request.file.fill(came)
            size -= came
        if not ends:
            return
        self._begun = None
        try:
            # Without a Message ID there is no response.
            if request.command.message_id is not None:
                self._answer(request.command, context_id, *self._outcome(request))
        finally:
            request.file.remove()

    def _outcome(self, request: StoreRequest | ReportRequest) -> tuple[int, str]:
        if isinstance(request, StoreRequest):
            return self._acceptor.store(request)
        return self._acceptor.reports.take(request), ""

    def _store_request(self, command: Command, context: Context) -> StoreRequest:
        uids = command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax
        file = IncomingFile(self._acceptor.incoming, uids, self._acceptor.check_room, self._acceptor.buffers)
        titles = self._request.calling_ae_title, self._request.called_ae_title
        return StoreRequest(command, context, *titles, self._address, file)

    def _answer(self, command: Command, context_id: int, status: int, comment: str) -> None:
        self._peer.sendall(response(command, context_id, status, comment, self._request.maximum_length))


def unexpected() -> ValueError:
    """Return the error that ends an association: what came may not come here."""
    return ValueError("not what may come here")
