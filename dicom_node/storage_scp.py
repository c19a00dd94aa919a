"""C-STORE and C-ECHO in (PS3.4 B, PS3.7 9.1): a durable put, and only then Success.

The one place that answers peers. Each instance goes the same way: room, identity and wholeness, the queue, 0000H; what
goes wrong on it is a :class:`~dicom_node.errors.Refuse` with the status that the peer hears, and leaves nothing behind.
"""

from __future__ import annotations

import logging
import re
import socket
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import pydicom.config
import structlog
from pynetdicom import _config
from pynetdicom.sop_class import Verification

from dicom_node.errors import Refuse, SpoolFull
from dicom_node.listener import Listener
from dicom_node.model import Origin, Priority
from dicom_node.queue import Accepted
from dicom_node.storage_commitment import PUSH_MODEL
from dicom_node.storage_scp_association import Acceptor
from dicom_node.storage_scp_commitment import Reports
from dicom_node.storage_scp_header import read_header
from dicom_node.storage_scp_server import AssociationServer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from dicom_node.config import Receive
    from dicom_node.model import SOPInstance
    from dicom_node.queue import Queue
    from dicom_node.storage_scp_association import StoreRequest

_SUCCESS = 0x0000
_ACTIONS = {Accepted.NEW: "received", Accepted.DUPLICATE: "duplicate"}
_ABORT_SECONDS = 2.0

# Looser than PS3.5 9.1 in one point: devices do send components with leading zeros, and those are only numbers.
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")

log = structlog.get_logger()


class StorageSCP:
    """Receives instances into the queue.

    The process is the receiver's own: ``start`` sets pynetdicom's, pydicom's and tempfile's process-wide switches.

    Parameters
    ----------
    receive : Receive
        How the node is called, and by whom.
    queue : Queue
        Where instances go; its spool has been prepared.
    reporters : mapping of str to collection of str, optional
        AE titles that may report on storage commitment, and the destinations that each reports for.
    priority_of : callable, optional
        Tells the priority of an instance by what it is, where it came from, and what opens its file.
    listener : Listener, optional
        Where to listen, if that is open already.
    """

    def __init__(
        self,
        receive: Receive,
        queue: Queue,
        reporters: Mapping[str, Collection[str]] | None = None,
        priority_of: Callable[[SOPInstance, Origin, Callable[[], BinaryIO]], Priority] = lambda *_: Priority.MEDIUM,
        listener: Listener | None = None,
    ) -> None:
        self._receive = receive
        self._queue = queue
        self._reports = Reports(queue, reporters or {})
        self._priority_of = priority_of
        self._log = log.bind(stage="receive")
        self._listener = listener
        self._server: AssociationServer | None = None

    @property
    def associations(self) -> int:
        """Connections there are now."""
        return len(self._server.connections) if self._server else 0

    def start(self) -> tuple[str, int]:
        """Listen, and return the address and port on which.

        Raises
        ------
        ConfigurationError
            When the address is not this machine's, the port is taken, or a file for TLS cannot be used.
        """
        receive, incoming = self._receive, self._queue.spool.incoming
        _settle_libraries(incoming)
        listener = self._listener = self._listener or Listener.open(receive)
        acceptor = Acceptor(incoming, self._queue.room.check, self._on_store, self._reports)
        self._server = AssociationServer(receive, listener, acceptor)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="storage-scp", daemon=True).start()
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def drain(self, seconds: float) -> None:
        """Stop listening, let associations end for up to ``seconds``, then abort those that are left."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        _wait_for_end(server, seconds)
        server.abort()
        _wait_for_end(server, _ABORT_SECONDS)
        server.connections.end(socket.SHUT_RDWR)
        _wait_for_end(server, _ABORT_SECONDS)
        if self._listener:
            self._listener.close()

    def _on_store(self, request: StoreRequest) -> tuple[int, str]:
        """Answer one C-STORE: whatever happens in here becomes a status, and one line in the log."""
        started = time.monotonic()
        fields: dict[str, Any] = {"action": "refused", "bytes": request.file.size}
        try:
            fields["entry_id"], accepted = self._accept(request)
            fields["action"] = _ACTIONS[accepted]
            status, comment = _SUCCESS, ""
        except Refuse as refusal:
            status, comment = refusal.status, refusal.comment
        except SpoolFull:
            status, comment = 0xA700, "no room, or the spool is not writable"
        except Exception as error:  # noqa: BLE001 - the peer has to hear that it keeps its copy
            fields["exc_info"] = error  # the log leaves its message out
            status, comment = 0x0110, "processing failure"
        self._log.info("instance", **fields, status=f"{status:04X}H", seconds=round(time.monotonic() - started, 3))
        return status, comment

    def _accept(self, request: StoreRequest) -> tuple[str, Accepted]:
        """Put a received file into the queue; it is durable when this returns."""
        request.file.finish()
        instance, origin = _identity(request), _origin(request)
        priority = self._priority_of(instance, origin, request.file.open)
        return self._queue.accept(request.file, instance, origin, priority)


def _identity(request: StoreRequest) -> SOPInstance:
    """See that the data set is whole, and that it is what the C-STORE-RQ says it is (PS3.4 B.2.3)."""
    command, context = request.command, request.context
    if context.abstract_syntax in {Verification, PUSH_MODEL}:
        raise Refuse(0x0122, "the context is not one of storage")
    if not _UID.fullmatch(command.sop_instance_uid):
        raise Refuse(0x0117, "the SOP Instance UID is not a UID")
    with request.file.content() as received:
        instance = read_header(received, context.transfer_syntax)
    if instance.sop_class_uid != command.sop_class_uid:
        raise Refuse(0xA900, "the data set's SOP Class is another one")
    if instance.sop_instance_uid != command.sop_instance_uid:
        raise Refuse(0xC000, "the data set's SOP Instance UID is another one")
    return instance


def _origin(request: StoreRequest) -> Origin:
    return Origin(
        calling_ae_title=request.calling_ae_title,
        called_ae_title=request.called_ae_title,
        peer_address=request.peer_address,
        received_at=time.time(),
    )


def _wait_for_end(server: AssociationServer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while len(server.connections) and time.monotonic() < deadline:
        time.sleep(0.05)


def _settle_libraries(incoming: Path) -> None:
    """Have what is unpacked stand in the spool, and no library say what is in it."""
    tempfile.tempdir = str(incoming)
    # What pynetdicom and pydicom tell of has element values in it.
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
