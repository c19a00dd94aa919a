"""Connections and associations as acceptor (PS3.8 9.2): one thread each, which reads, stores and answers.

pynetdicom encodes and decodes A-ASSOCIATE (:mod:`~dicom_node.storage_scp_negotiation`); what follows is read here. Its
own acceptor has three threads for an association, which poll a thousand times a second, hand every PDU from one to the
other and copy it six times (``docs/decisions/0011-receivers.md``).
"""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.storage_scp_file import IncomingFile
from dicom_node.storage_scp_limits import Connections
from dicom_node.storage_scp_message import (
    MAXIMUM_COMMAND_SET,
    Command,
    Field,
    decode,
    is_command,
    is_last,
    response,
)
from dicom_node.storage_scp_negotiation import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    LOCAL_LIMIT_EXCEEDED,
    REASONS,
    USER_IDENTITY,
    Context,
    Rejection,
    Request,
)
from dicom_node.storage_scp_stream import Stream
from dicom_node.tls import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dicom_node.config import Receive
    from dicom_node.listener import Listener
    from dicom_node.storage_scp_table import AssociationTable
    from dicom_node.tls import Context as TLSContext

_PDU_LIMIT = (1 << 20) + 64
"""Longest PDU that is read, in bytes: the largest ``maximum_pdu_length``."""

_REQUEST_LIMIT = 1 << 18
"""Longest A-ASSOCIATE-RQ: 128 contexts of 40 transfer syntaxes each have 160 KB, and decoding 1 MB takes seconds."""

_ASSOCIATION_REQUEST_SECONDS = 30.0
_ANSWERED_SECONDS, _LINGER_SECONDS = 0.1, 1.0
_STEP_BACK_SECONDS = 0.0005
_MOST_STEPS_BACK = 8

_ASSOCIATE_RQ, _P_DATA_TF, _RELEASE_RQ, _RELEASE_RP, _ABORT = 1, 4, 5, 6, 7
_BY_USER, _BY_PROVIDER = 0, 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ whose data set has come."""

    command: Command
    context: Context
    calling_ae_title: str
    called_ae_title: str
    peer_address: str
    file: IncomingFile


class AssociationServer(socketserver.ThreadingTCPServer):
    """Lets in whom the configuration allows.

    Parameters
    ----------
    receive : Receive
        Titles, networks and limits.
    listener : Listener
        Where connections come from; :meth:`shutdown` closes its socket.
    table : AssociationTable
        The associations of all receivers.
    incoming : Path
        Where instances are written as they come.
    store : callable
        Takes a request, and returns status and error comment.
    context : TLSContext, optional
        To speak TLS.
    """

    daemon_threads = True

    def __init__(
        self,
        receive: Receive,
        listener: Listener,
        table: AssociationTable,
        incoming: Path,
        store: Callable[[StoreRequest], tuple[int, str]],
        context: TLSContext | None = None,
    ) -> None:
        super().__init__((receive.host, receive.port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.socket
        self.server_address = listener.socket.getsockname()
        self.receive = receive
        self.incoming = incoming
        self.store = store
        self.is_aborting = threading.Event()
        self.connections = Connections(receive.maximum_associations, receive.maximum_associations_per_peer, table)
        self._listener = listener
        self._networks = [ipaddress.ip_network(network) for network in receive.networks]
        self._titles = {receive.ae_title, *receive.called_ae_titles}
        self._tls = context
        self._certified = receive.tls.calling_ae_titles if receive.tls else {}

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection that cannot hold its slot in silence, nor wait for Nagle's algorithm."""
        if self._listener.is_shared:
            # Who has less to do is there first.
            time.sleep(min(len(self.connections), _MOST_STEPS_BACK) * _STEP_BACK_SECONDS)
        peer, address = self.socket.accept()
        peer.settimeout(self.receive.network_timeout)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            # The handshake waits for the peer: that is for the thread of the connection.
            peer = self._tls.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        return peer, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401 - socketserver's own
        """Refuse connections from other networks, and those that are too many."""
        if self._networks and not any(_address(client_address[0]) in network for network in self._networks):
            log.info("association", action="rejected", reason="network", peer=client_address[0])
            return False
        if not self.connections.admit(request, client_address[0]):
            log.info("association", action="rejected", reason="connections", peer=client_address[0])
            return False
        return True

    def refusal(self, request: Request, peer: socket.socket) -> Rejection | None:
        """Return why there is no association."""
        receive = self.receive
        if not receive.any_called_ae_title and request.called_ae_title not in self._titles:
            return CALLED_AE_TITLE_NOT_RECOGNISED
        if receive.calling_ae_titles and request.calling_ae_title not in receive.calling_ae_titles:
            return CALLING_AE_TITLE_NOT_RECOGNISED
        if not self._may_call_itself(peer, request.calling_ae_title):
            return CALLING_AE_TITLE_NOT_RECOGNISED
        if request.has_user_identity:
            return USER_IDENTITY
        return None if self.connections.associate(peer) else LOCAL_LIMIT_EXCEEDED

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's own
        """Log that a connection failed; socketserver would print its traceback."""
        log.warning("association", action="failed", peer=client_address[0], exc_info=True)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - socketserver's own
        """Close a connection, and give its room to others."""
        self.connections.forget(request)
        super().shutdown_request(request)

    def shutdown(self) -> None:
        """Stop listening; associations go on."""
        super().shutdown()
        self.server_close()

    def abort(self) -> None:
        """End every association, after what it has in hand."""
        self.is_aborting.set()
        self.connections.end(socket.SHUT_RD)

    def _may_call_itself(self, peer: socket.socket, calling_ae_title: str) -> bool:
        """Whether the peer's certificate says that it is who it says it is; anyone may where none are asked for."""
        names = names_of(peer) if self._certified else ()
        return not self._certified or any(calling_ae_title in self._certified.get(name, ()) for name in names)


class _Handler(socketserver.BaseRequestHandler):
    """One connection, from accept to its end."""

    server: AssociationServer
    request: socket.socket

    def handle(self) -> None:
        """Shake hands where TLS is spoken, and serve; whatever happens ends this connection and no other."""
        try:
            getattr(self.request, "do_handshake", int)()
        except OSError as error:
            log.info("association", action="rejected", reason="TLS", peer=self.client_address[0], exc_info=error)
            return
        try:
            is_served = self._serve()
        except (EOFError, OSError):
            is_served = False
        except Exception as error:  # noqa: BLE001 - pynetdicom raises what it likes on what it cannot decode
            log.info("association", action="aborted", peer=self.client_address[0], exc_info=error)
            is_served = False
        with suppress(OSError):
            if is_served:
                self._wait_for_end(_ANSWERED_SECONDS)
            else:
                self.request.sendall(_abort(_BY_USER if self.server.is_aborting.is_set() else _BY_PROVIDER))
            socket.socket.shutdown(self.request, socket.SHUT_WR)
            self._wait_for_end(_LINGER_SECONDS)

    def _serve(self) -> bool:
        """Return whether it came to an end as PS3.8 has it; otherwise the association is to be aborted."""
        stream = Stream(self.request)
        request = self._requested(stream)
        if request is None:
            return True
        rejection = self.server.refusal(request, self.request)
        if rejection is not None:
            log.info("association", action="rejected", reason=REASONS[rejection], peer=self.client_address[0])
            self.request.sendall(request.rejected(rejection))
            return True
        self.request.sendall(request.accepted(self.server.receive.maximum_pdu_length))
        return Association(self.server, self.request, stream, request, self.client_address[0]).serve()

    def _requested(self, stream: Stream) -> Request | None:
        """Wait for the A-ASSOCIATE-RQ; None when the peer has thought better of it."""
        seconds = self.server.receive.network_timeout
        self.request.settimeout(min(seconds, _ASSOCIATION_REQUEST_SECONDS))
        kind, length = stream.pdu(_REQUEST_LIMIT)
        if kind == _ABORT:
            return None
        if kind != _ASSOCIATE_RQ:
            raise _unexpected()
        request = Request(struct.pack(">BxI", kind, length) + stream.read(length))
        self.request.settimeout(seconds)
        return request

    def _wait_for_end(self, seconds: float) -> None:
        """Let the peer read the last word and hang up (PS3.8, Sta13); closed at once, the connection would take it back."""
        self.server.connections.leave(self.request)
        deadline = time.monotonic() + seconds
        self.request.settimeout(seconds)
        with suppress(TimeoutError):
            while time.monotonic() < deadline and self.request.recv(_REQUEST_LIMIT):
                pass


class Association:
    """An association that is established: a message is answered before the next one is read.

    Parameters
    ----------
    server : AssociationServer
    peer : socket.socket
    stream : Stream
        Of ``peer``.
    request : Request
        What was accepted.
    address : str
        Of the peer.
    """

    def __init__(
        self, server: AssociationServer, peer: socket.socket, stream: Stream, request: Request, address: str
    ) -> None:
        self._server = server
        self._peer = peer
        self._stream = stream
        self._request = request
        self._contexts: Mapping[int, Context] = request.contexts
        self._address = address
        self._command_set = b""
        self._store: tuple[int, StoreRequest] | None = None

    def serve(self) -> bool:
        """Serve until the peer releases or aborts (True), or the node has to (False)."""
        try:
            while not self._server.is_aborting.is_set():
                kind, length = self._stream.pdu(_PDU_LIMIT)
                if kind == _P_DATA_TF:
                    self._read_fragments(length)
                elif kind == _RELEASE_RQ:
                    self._stream.skip(length)
                    self._peer.sendall(struct.pack(">BxII", _RELEASE_RP, 4, 0))
                    return True
                elif kind == _ABORT:
                    return True
                else:
                    raise _unexpected()
            return False
        finally:
            if self._store:
                self._store[1].file.remove()

    def _read_fragments(self, length: int) -> None:
        """Read a P-DATA-TF (PS3.8 9.3.5)."""
        while length:
            if length < struct.calcsize(">IBB"):
                raise _unexpected()
            size, context_id, control = struct.unpack(">IBB", self._stream.read(6))
            length -= 4 + size
            context = self._contexts.get(context_id)
            if length < 0 or size < struct.calcsize(">BB") or context is None:
                raise _unexpected()
            if is_command(control):
                self._read_command(context_id, size - 2, is_last=is_last(control))
            else:
                self._read_data_set(context_id, size - 2, is_last=is_last(control))

    def _read_command(self, context_id: int, size: int, *, is_last: bool) -> None:
        if self._store or len(self._command_set) + size > MAXIMUM_COMMAND_SET:
            msg = "a second command set, or one that is too long"
            raise ValueError(msg)
        self._command_set += self._stream.read(size)
        if not is_last:
            return
        command, self._command_set = decode(self._command_set), b""
        match command.field, command.has_data_set:
            case Field.C_ECHO_RQ, False:
                self._answer(command, context_id, 0x0000, "")
            case Field.C_STORE_RQ, True:
                self._store = context_id, self._begun(command, self._contexts[context_id])
            case Field.C_STORE_RQ, False:
                self._answer(command, context_id, 0xC000, "the data set is missing")
            case _:
                raise _unexpected()

    def _read_data_set(self, context_id: int, size: int, *, is_last: bool) -> None:
        if self._store is None or self._store[0] != context_id:
            msg = "a data set that belongs to no C-STORE"
            raise ValueError(msg)
        file = self._store[1].file
        for piece in self._stream.pieces(size):
            file.write(piece)
        if not is_last:
            return
        request, self._store = self._store[1], None
        try:
            # Without a Message ID there is no response.
            if request.command.message_id is not None:
                self._answer(request.command, context_id, *self._server.store(request))
        finally:
            file.remove()

    def _begun(self, command: Command, context: Context) -> StoreRequest:
        file = IncomingFile(
            self._server.incoming, command.sop_class_uid, command.sop_instance_uid, context.transfer_syntax
        )
        titles = self._request.calling_ae_title, self._request.called_ae_title
        return StoreRequest(command, context, *titles, self._address, file)

    def _answer(self, command: Command, context_id: int, status: int, comment: str) -> None:
        self._peer.sendall(response(command, context_id, status, comment, self._request.maximum_length))


def _abort(source: int) -> bytes:
    return struct.pack(">BxIxxBB", _ABORT, 4, source, 0)


def _unexpected() -> ValueError:
    return ValueError("not what may come here")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
