"""Connections: who is let in, and an end of each that leaves nothing behind (PS3.8 9.2 as acceptor)."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog

from dicom_node.storage_scp_association import ABORT, Association, unexpected
from dicom_node.storage_scp_limits import Connections
from dicom_node.storage_scp_negotiation import (
    CALLED_AE_TITLE_NOT_RECOGNISED,
    CALLING_AE_TITLE_NOT_RECOGNISED,
    LOCAL_LIMIT_EXCEEDED,
    REASONS,
    USER_IDENTITY,
    Rejection,
    Request,
)
from dicom_node.storage_scp_stream import Stream
from dicom_node.storage_scp_table import AssociationTable
from dicom_node.tls import names_of, receiving

if TYPE_CHECKING:
    from dicom_node.config import Receive
    from dicom_node.listener import Listener
    from dicom_node.storage_scp_association import Acceptor

_ASSOCIATE_RQ = 1
_REQUEST_LIMIT = 1 << 18
"""Longest A-ASSOCIATE-RQ: 128 contexts of 40 transfer syntaxes each have 160 KB, and decoding 1 MB takes seconds."""

_ASSOCIATION_REQUEST_SECONDS = 30.0
_ANSWERED_SECONDS, _LINGER_SECONDS = 0.1, 1.0
_STEP_BACK_SECONDS = 0.0005
_MOST_STEPS_BACK = 8
_BY_USER, _BY_PROVIDER = 0, 2

log = structlog.get_logger()


class AssociationServer(socketserver.ThreadingTCPServer):
    """Lets in whom the configuration allows.

    Parameters
    ----------
    receive : Receive
        Titles, networks and limits.
    listener : Listener
        Where connections come from; :meth:`shutdown` closes its socket.
    acceptor : Acceptor
        What the associations have in common.

    Raises
    ------
    ConfigurationError
        When a file for TLS cannot be used.
    """

    daemon_threads = True

    def __init__(self, receive: Receive, listener: Listener, acceptor: Acceptor) -> None:
        super().__init__((receive.host, receive.port), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.socket
        self.server_address = listener.socket.getsockname()
        self.receive = receive
        self.acceptor = acceptor
        table = AssociationTable(listener.associations, receive.maximum_associations)
        self.connections = Connections(receive.maximum_associations, receive.maximum_associations_per_peer, table)
        self._is_shared = listener.is_shared
        self._networks = [ipaddress.ip_network(network) for network in receive.networks]
        self._titles = {receive.ae_title, *receive.called_ae_titles}
        self._tls = receiving(receive.tls) if receive.tls else None
        self._certified = receive.tls.calling_ae_titles if receive.tls else {}

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection that cannot hold its slot in silence, nor wait for Nagle's algorithm."""
        if self._is_shared:
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
        log.warning("association", action="failed", peer=client_address[0], exc_info=sys.exception())

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
        self.acceptor.is_aborting.set()
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
        except Exception as error:  # pynetdicom raises what it likes on what it cannot decode
            log.info("association", action="aborted", peer=self.client_address[0], exc_info=error)
            is_served = False
        with suppress(OSError):
            if is_served:
                self._wait_for_end(_ANSWERED_SECONDS)
            else:
                self.request.sendall(_abort(_BY_USER if self.server.acceptor.is_aborting.is_set() else _BY_PROVIDER))
            socket.socket.shutdown(self.request, socket.SHUT_WR)
            self._wait_for_end(_LINGER_SECONDS)

    def _serve(self) -> bool:
        """Return whether it came to an end as PS3.8 has it; otherwise the association is to be aborted."""
        seconds = self.server.receive.network_timeout
        stream = Stream(self.request, min(seconds, _ASSOCIATION_REQUEST_SECONDS))
        request = self._requested(stream)
        if request is None:
            return True
        rejection = self.server.refusal(request, self.request)
        if rejection is not None:
            log.info("association", action="rejected", reason=REASONS[rejection], peer=self.client_address[0])
            self.request.sendall(request.rejected(rejection))
            return True
        stream.allow(seconds)
        self.request.sendall(request.accepted(self.server.receive.maximum_pdu_length))
        return Association(self.server.acceptor, self.request, stream, request, self.client_address[0]).serve()

    def _requested(self, stream: Stream) -> Request | None:
        """Wait for the A-ASSOCIATE-RQ; None when the peer has thought better of it."""
        kind, length = stream.pdu(_REQUEST_LIMIT)
        if kind == ABORT:
            return None
        if kind != _ASSOCIATE_RQ:
            raise unexpected()
        reporters = self.server.acceptor.reports.ae_titles
        return Request(struct.pack(">BxI", kind, length) + stream.read(length), reporters)

    def _wait_for_end(self, seconds: float) -> None:
        """Let the peer read the last word and hang up (PS3.8, Sta13): closed at once, the connection takes it back."""
        self.server.connections.leave(self.request)
        deadline = time.monotonic() + seconds
        self.request.settimeout(seconds)
        with suppress(TimeoutError):
            while time.monotonic() < deadline and self.request.recv(_REQUEST_LIMIT):
                pass


def _abort(source: int) -> bytes:
    return struct.pack(">BxIxxBB", ABORT, 4, source, 0)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
