"""What pynetdicom's acceptor lacks for a node that stands in a hospital network.

Small subclasses, put in where pynetdicom makes its own parts (:meth:`_RequestHandler._create_association`): sockets
with time-outs and bounded PDUs, the choice of the transfer syntax, waiting in the place of polling, and an end of each
association that leaves no file behind.
"""

from __future__ import annotations

import ipaddress
import queue
import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from socketserver import BaseServer
from typing import TYPE_CHECKING, Any

import structlog
from pynetdicom import build_context, evt
from pynetdicom.acse import ACSE
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_node.errors import SpoolFull
from dicom_node.storage_scp_commitment import grant_reports, is_report, offer_reports, takes_reports
from dicom_node.storage_scp_limits import Connections, check_fragment
from dicom_node.tls import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pydicom.uid import UID
    from pynetdicom import AE
    from pynetdicom.association import Association
    from pynetdicom.events import Event
    from pynetdicom.presentation import PresentationContext

    from dicom_node.config import Receive
    from dicom_node.tls import Context

_PDU_LIMIT = (1 << 20) + 64
"""Longest PDU that is read, in bytes: the largest ``maximum_pdu_length``."""

_REQUEST_LIMIT = 1 << 18
"""Longest A-ASSOCIATE-RQ: 128 contexts of 40 transfer syntaxes each have 160 KB, and decoding 1 MB takes seconds."""

_BUSY_SECONDS = 1.0
_IDLE_WAIT = 0.05

_PIXEL_SYNTAXES = frozenset(
    "1.2.840.10008.1.2" + suffix
    for suffix in (
        *("", ".1", ".1.99", ".2", ".5"),  # native, deflated, big endian; RLE
        *(".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81"),  # JPEG, JPEG-LS
        *(".4.90", ".4.91", ".4.92", ".4.93", ".4.201", ".4.202", ".4.203"),  # JPEG 2000, its part 2, HTJ2K
        *(f".4.{number}{fragmentable}" for number in range(100, 107) for fragmentable in ("", ".1")),  # MPEG2, MPEG-4
        *(".4.107", ".4.108"),  # HEVC
    )
)
"""Transfer syntaxes that carry the pixels themselves (PS3.5 A): JPIP does not, and private ones are anybody's guess."""

_ABSTRACT_SYNTAX_NOT_SUPPORTED, _TRANSFER_SYNTAXES_NOT_SUPPORTED = 0x03, 0x04
_CALLED_AE_TITLE_NOT_RECOGNISED = (0x01, 0x01, 0x07)
_CALLING_AE_TITLE_NOT_RECOGNISED = (0x01, 0x01, 0x03)
_LOCAL_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)
_REASONS = {(1, 3): "calling AE title", (1, 7): "called AE title", (2, 1): "user identity", (3, 2): "local limit"}

log = structlog.get_logger()


class AssociationServer(ThreadedAssociationServer):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """Listens, and lets in whom the configuration allows.

    Parameters
    ----------
    ae : AE
        Time-outs, PDU length, maximum of associations and Calling AE Titles are taken from it.
    receive : Receive
        Address, Called AE Titles and networks.
    handlers : sequence
        ``(event, callable)`` as pynetdicom has them.
    context : Context, optional
        To speak TLS.
    check_room : callable, optional
        Raises :class:`~dicom_node.errors.SpoolFull` when nothing more of an instance may be written.
    reporters : collection of str
        Calling AE Titles that may report on storage commitment.

    Raises
    ------
    OSError
        When the address cannot be listened on.
    """

    request_queue_size = 128
    daemon_threads = True

    def __init__(
        self,
        ae: AE,
        receive: Receive,
        handlers: Sequence[tuple[Any, Any]],
        context: Context | None = None,
        *,
        check_room: Callable[[], None] = lambda: None,
        reporters: Collection[str] = (),
    ) -> None:
        self.check_room = check_room
        self.reporters = reporters
        titles = frozenset({receive.ae_title, *receive.called_ae_titles})
        self.called_ae_titles = None if receive.any_called_ae_title else titles
        self._networks = [ipaddress.ip_network(network) for network in receive.networks]
        self.connections = Connections(receive.maximum_associations, receive.maximum_associations_per_peer)
        self._peer_timeout = receive.network_timeout
        self._tls = context
        self._certified = receive.tls.calling_ae_titles if receive.tls else {}
        contexts = [build_context(Verification)]
        address = (receive.host, receive.port)
        all_handlers = [*handlers, (evt.EVT_CONN_CLOSE, _end_wait)]
        super().__init__(ae, address, receive.ae_title, contexts, None, all_handlers, _RequestHandler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection that cannot hold its slot in silence, nor wait for Nagle's algorithm."""
        peer, address = super().get_request()
        peer.settimeout(self._peer_timeout)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            # The handshake waits for the peer: that is for the thread of the connection.
            peer = self._tls.wrap_socket(peer, server_side=True, do_handshake_on_connect=False)
        return peer, address

    def may_call_itself(self, peer: socket.socket, calling_ae_title: str) -> bool:
        """Whether the peer's certificate says that it is who it says it is; anyone may where none are asked for."""
        names = names_of(peer) if self._certified else ()
        return not self._certified or any(calling_ae_title in self._certified.get(name, ()) for name in names)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ANN401 - socketserver's own
        """Refuse connections from other networks, and those that are too many."""
        if self._networks and not any(_address(client_address[0]) in network for network in self._networks):
            log.info("association", action="rejected", reason="network", peer=client_address[0])
            return False
        if not self.connections.admit(request, client_address[0]):
            log.info("association", action="rejected", reason="connections", peer=client_address[0])
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - socketserver's own
        """Log that a connection failed; socketserver would print its traceback."""
        log.warning("association", action="failed", peer=client_address[0])

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - socketserver's own
        """Close a connection, and give its room to others."""
        super().shutdown_request(request)
        self.connections.forget(request)

    def shutdown(self) -> None:
        """Stop listening; associations go on."""
        # Not pynetdicom's: that wants to be in a list which only AE.start_server() fills.
        BaseServer.shutdown(self)
        self.server_close()


class PeerSocket(AssociationSocket):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """The accepted connection: reads PDUs of bounded length in bounded time, and waits in the place of polling."""

    _heard = 0.0

    @property
    def ready(self) -> bool:
        """Whether there is something to read.

        pynetdicom asks 1000 times a second, with ``select`` (which file descriptors from 1024 on crash). Nothing is
        lost by waiting here while the peer is silent: what arrives ends the wait.
        """
        if self.socket is None or not self._is_connected or not self.assoc.dimse.msg_queue.empty():
            # Nothing more is read from a peer that does not wait for the response: it would pile up in here.
            return False
        idle = time.monotonic() - self._heard > _BUSY_SECONDS
        poller = select.poll()
        try:
            if getattr(self.socket, "pending", int)():  # decrypted already
                return True
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(_IDLE_WAIT * 1000 if idle else 0))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read ``nr_bytes``, or fewer when the peer hangs up.

        Raises
        ------
        OSError
            When that is more than a PDU may have, or takes longer than the network time-out.
        """
        if nr_bytes > (_REQUEST_LIMIT if self.assoc.requestor.primitive is None else _PDU_LIMIT):
            msg = "the PDU is too long"
            raise OSError(msg)
        self._heard = time.monotonic()
        deadline = self._heard + self.socket.gettimeout()
        received = bytearray(nr_bytes)
        view, filled = memoryview(received), 0
        while filled < nr_bytes:
            count = self.socket.recv_into(view[filled:])
            if not count:
                return received[:filled]
            filled += count
            if time.monotonic() > deadline:
                raise TimeoutError
        return received

    def hang_up(self) -> None:
        """End the connection at once, also for a thread that is reading from it."""
        with suppress(OSError, AttributeError):
            self.socket.shutdown(socket.SHUT_RDWR)


class _ACSE(ACSE):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """Association negotiation: more than one Called AE Title, and the requestor's first syntax that has pixels."""

    def _negotiate_as_acceptor(self) -> None:
        refusal = self._refusal()
        if refusal is None:
            offer_reports(self.assoc, self.assoc._server.reporters)  # noqa: SLF001 - see _refusal
            super()._negotiate_as_acceptor()
            return
        self.send_reject(*refusal)
        self.assoc.kill()

    def _refusal(self) -> tuple[int, int, int] | None:
        """Return why there is no association, as PS3.8 9.3.4 has it."""
        server = self.assoc._server  # noqa: SLF001 - the only way from an association to its server
        titles = server.called_ae_titles
        if titles is not None and self.requestor.primitive.called_ae_title not in titles:
            return _CALLED_AE_TITLE_NOT_RECOGNISED
        connection = self.assoc.dul.socket.socket
        if connection is None or not server.connections.associate(connection):
            return _LOCAL_LIMIT_EXCEEDED
        if not server.may_call_itself(connection, self.requestor.primitive.calling_ae_title):
            return _CALLING_AE_TITLE_NOT_RECOGNISED
        return None

    def send_reject(self, result: int, source: int, diagnostic: int) -> None:
        reason = _REASONS.get((source, diagnostic), "other")
        log.info("association", action="rejected", reason=reason, peer=self.requestor.address)
        super().send_reject(result, source, diagnostic)

    def send_accept(self) -> None:
        """Settle the contexts first: pynetdicom took the requestor's first transfer syntax, whatever it is."""
        requested = self.requestor.primitive.presentation_context_definition_list
        proposals = {context.context_id: context.transfer_syntax for context in requested}
        for context in self.assoc.accepted_contexts:
            receivable = [syntax for syntax in proposals[context.context_id] if syntax in _PIXEL_SYNTAXES]
            context.transfer_syntax = (receivable or context.transfer_syntax)[:1]
            if not (_is_served(context.abstract_syntax) or takes_reports(context)):
                self._reject(context, _ABSTRACT_SYNTAX_NOT_SUPPORTED)
            elif not receivable:
                self._reject(context, _TRANSFER_SYNTAXES_NOT_SUPPORTED)
        grant_reports(self.assoc)
        super().send_accept()

    def _reject(self, context: PresentationContext, result: int) -> None:
        context.result = result
        del self.assoc._accepted_cx[context.context_id]  # noqa: SLF001 - accepted_contexts is a copy of it
        self.assoc.rejected_contexts.append(context)


class _DIMSE(DIMSEServiceProvider):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """DIMSE messages: waited for in the place of polled, and a broken one ends only its association."""

    _served: Any = None

    def get_msg(self, block: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - pynetdicom's signature
        try:
            context_id, message = self.msg_queue.get(timeout=self.dimse_timeout if block else _IDLE_WAIT / 2)
        except queue.Empty:
            return None, None
        _remove_file(self._served)
        self._served = message
        if not (isinstance(message, C_STORE | C_ECHO) or is_report(self.assoc, context_id, message)):
            self.dul.event_queue.put("Evt19")
            return None, None
        return context_id, message

    def receive_primitive(self, primitive: Any) -> None:  # noqa: ANN401 - pynetdicom's signature
        try:
            for fragment in primitive.presentation_data_value_list:
                check_fragment(self.message, fragment[1])
                one = P_DATA()
                one.presentation_data_value_list = [list(fragment)]
                self._receive_fragment(one, fragment[1])
        except Exception as error:
            log.info("association", action="aborted", peer=self.assoc.requestor.address, exc_info=error)
            self.dul.event_queue.put("Evt19")

    def _receive_fragment(self, one: P_DATA, fragment: bytes) -> None:
        """Write a fragment down; where that cannot be, read the rest of the instance for nothing: it is refused."""
        is_data_set = not fragment[0] & 1
        try:
            if is_data_set and self.message._data_set_path:  # noqa: SLF001 - pynetdicom keeps it in no other place
                self.assoc._server.check_room()  # noqa: SLF001 - the only way from an association to its server
            super().receive_primitive(one)
        except (OSError, SpoolFull):
            _remove_file(self.message)
            self.message._data_set_file, self.message._data_set_path = _Nowhere(), None  # noqa: SLF001
            if is_data_set:
                super().receive_primitive(one)

    def remove_files(self) -> None:
        """Remove what was received and not taken: the association is over."""
        left = [self.message, self._served]
        while not self.msg_queue.empty():
            left.append(self.msg_queue.get_nowait()[1])
        for message in left:
            _remove_file(message)


class _Nowhere:
    """The file of an instance for which there is no room."""

    name = ""

    @property
    def file(self) -> _Nowhere:
        return self

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        """Nothing is kept."""

    close = flush


class _RequestHandler(RequestHandler):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """One connection, from accept to its end."""

    def handle(self) -> None:
        """Serve the association; this thread outlives it, so that however it ends, somebody cleans up."""
        if not self._is_greeted():
            self.server.shutdown_request(self.request)
            return
        association = self._create_association()
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()
        association.join()
        self.server.shutdown_request(self.request)
        association.dul.join()
        association.dimse.remove_files()

    def _is_greeted(self) -> bool:
        """Shake hands, where TLS is spoken."""
        try:
            getattr(self.request, "do_handshake", int)()
        except OSError as error:
            log.info("association", action="rejected", reason="TLS", peer=self.client_address[0], exc_info=error)
            return False
        return True

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.event_queue.get_nowait()  # The event of the first socket: the second brings its own.
        association.dul.socket = PeerSocket(association, client_socket=self.request)
        association.acse = _ACSE(association)
        association.dimse = _DIMSE(association)
        return association


def _end_wait(event: Event) -> None:
    """End the wait for an A-ASSOCIATE-RQ that cannot come any more; it would hold its slot until the time-out."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _is_served(sop_class: UID) -> bool:
    """Whether this is Verification, or storage; a class that PS3.6 does not name is taken for storage."""
    name = sop_class.name
    is_storage = "Storage" in name and "Storage Commitment" not in name
    return name in {"", sop_class} or sop_class == Verification or is_storage


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _remove_file(message: Any) -> None:  # noqa: ANN401 - a DIMSE message or primitive, which name the file differently
    file = getattr(message, "_data_set_file", None) or getattr(message, "_dataset_file", None)
    if file is not None and file.name:
        with suppress(OSError):  # It would write first what it still has.
            file.close()
        with suppress(OSError):
            Path(file.name).unlink(missing_ok=True)
