"""C-STORE and C-ECHO in (PS3.4 B, PS3.7 9.1): a durable put, and only then Success.

The one place that answers peers. Each instance goes the same way: room, identity and wholeness, the queue, 0000H; what
goes wrong on it is a :class:`~dicom_node.errors.Refuse` with the status that the peer hears, and leaves nothing behind.
"""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pydicom.config
import structlog
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import Verification

from dicom_node.errors import ConfigurationError, Refuse, SpoolFull
from dicom_node.model import Origin, Priority
from dicom_node.queue import Accepted
from dicom_node.storage_scp_association import AssociationServer
from dicom_node.storage_scp_commitment import Reports
from dicom_node.storage_scp_header import read_header
from dicom_node.tls import receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from pynetdicom.events import Event

    from dicom_node.config import Receive
    from dicom_node.model import SOPInstance
    from dicom_node.queue import Queue

_SUCCESS = 0x0000
_ACTIONS = {Accepted.NEW: "received", Accepted.DUPLICATE: "duplicate"}
_ASSOCIATION_REQUEST_SECONDS = 30.0
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
        Tells the priority of an instance by what it is, where it came from and its file.
    """

    def __init__(
        self,
        receive: Receive,
        queue: Queue,
        reporters: Mapping[str, Collection[str]] | None = None,
        priority_of: Callable[[SOPInstance, Origin, Path], Priority] = lambda *_: Priority.MEDIUM,
    ) -> None:
        self._receive = receive
        self._queue = queue
        self._reports = Reports(queue, reporters or {})
        self._priority_of = priority_of
        self._server: AssociationServer | None = None

    @property
    def associations(self) -> int:
        """Connections there are now."""
        return len(self._server.active_associations) if self._server else 0

    def start(self) -> tuple[str, int]:
        """Listen, and return the address and port on which.

        Raises
        ------
        ConfigurationError
            When the address is not this machine's, the port is taken, or a file for TLS cannot be used.
        """
        _settle_libraries(self._queue.spool.incoming)
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_ASYNC_OPS, _one_operation_at_a_time),
            (evt.EVT_USER_ID, _nobody_is_known),
            *self._reports.handlers,
        ]
        context = receiving(self._receive.tls) if self._receive.tls else None
        check_room = self._queue.room.check
        address = f"receive: {self._receive.host} port {self._receive.port}"
        try:
            self._server = AssociationServer(
                self._application_entity(),
                self._receive,
                handlers,
                context,
                check_room=check_room,
                reporters=self._reports.ae_titles,
            )
        except OSError as error:
            msg = f"{address}: cannot be listened on: {error.strerror}"
            raise ConfigurationError(msg) from None
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
        for association in server.active_associations:
            association.abort(block=False)
        _wait_for_end(server, _ABORT_SECONDS)
        for association in server.active_associations:
            association.dul.socket.hang_up()
        _wait_for_end(server, _ABORT_SECONDS)

    def _application_entity(self) -> AE:
        receive = self._receive
        ae = AE(receive.ae_title)
        ae.maximum_pdu_size = receive.maximum_pdu_length
        ae.maximum_associations = sys.maxsize  # The server counts them itself, and connections without one apart.
        ae.require_calling_aet = list(receive.calling_ae_titles)
        ae.network_timeout = receive.network_timeout
        ae.acse_timeout = min(receive.network_timeout, _ASSOCIATION_REQUEST_SECONDS)
        return ae

    def _on_store(self, event: Event) -> Dataset:
        """Answer one C-STORE: whatever happens in here becomes a status, and one line in the log."""
        started = time.monotonic()
        fields: dict[str, Any] = {"stage": "receive", "action": "refused"}
        try:
            path = _written(event)
            fields["bytes"] = path.stat().st_size
            fields["entry_id"], accepted = self._accept(path, event)
            fields["action"] = _ACTIONS[accepted]
            status, comment = _SUCCESS, ""
        except Refuse as refusal:
            status, comment = refusal.status, refusal.comment
        except SpoolFull:
            status, comment = 0xA700, "no room, or the spool is not writable"
        except Exception as error:  # noqa: BLE001 - pynetdicom would answer C211 and keep the file
            fields["exc_info"] = error  # the log leaves its message out
            status, comment = 0x0110, "processing failure"
        log.info("instance", **fields, status=f"{status:04X}H", seconds=round(time.monotonic() - started, 3))
        return _response(status, comment)

    def _accept(self, path: Path, event: Event) -> tuple[str, Accepted]:
        """Put a received file into the queue; it is durable when this returns."""
        self._queue.room.check()
        instance = _identity(path, event)
        origin = _origin(event)
        return self._queue.accept(path, instance, origin, self._priority_of(instance, origin, path))


def _written(event: Event) -> Path:
    """Tell where the data set is; there is none when there was no room for it."""
    path: Path | None = event.dataset_path
    if path is None:
        msg = "the data set could not be written"
        raise SpoolFull(msg)
    return path


def _identity(path: Path, event: Event) -> SOPInstance:
    """See that the data set is whole, and that it is what the C-STORE-RQ says it is (PS3.4 B.2.3)."""
    request = event.request
    if event.context.abstract_syntax == Verification:
        raise Refuse(0x0122, "the context is not one of storage")
    if not _UID.fullmatch(request.AffectedSOPInstanceUID):
        raise Refuse(0x0117, "the SOP Instance UID is not a UID")
    instance = read_header(path, str(event.context.transfer_syntax))
    if instance.sop_class_uid != request.AffectedSOPClassUID:
        raise Refuse(0xA900, "the data set's SOP Class is another one")
    if instance.sop_instance_uid != request.AffectedSOPInstanceUID:
        raise Refuse(0xC000, "the data set's SOP Instance UID is another one")
    return instance


def _origin(event: Event) -> Origin:
    requestor = event.assoc.requestor
    return Origin(
        calling_ae_title=requestor.ae_title,
        called_ae_title=requestor.primitive.called_ae_title,
        peer_address=requestor.address,
        received_at=time.time(),
    )


def _response(status: int, comment: str) -> Dataset:
    response = Dataset()
    response.Status = status
    if comment:
        response.ErrorComment = comment
    return response


def _one_operation_at_a_time(_event: Event) -> tuple[int, int]:
    """Answer the Asynchronous Operations Window (PS3.7 D.3.3.3): C-STORE is answered in the order it comes."""
    return 1, 1


def _nobody_is_known(_event: Event) -> tuple[bool, None]:
    """Refuse a user identity (PS3.7 D.3.3.7): the node knows no users, and its yes would say that it had looked."""
    return False, None


def _wait_for_end(server: AssociationServer, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while server.active_associations and time.monotonic() < deadline:
        time.sleep(0.05)


def _settle_libraries(incoming: Path) -> None:
    """Have instances written to the spool as they come in, and no library say what is in them."""
    tempfile.tempdir = str(incoming)
    _config.STORE_RECV_CHUNKED_DATASET = True
    # Private, retired and unknown storage classes too: it is not for this node to know all that devices make.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    # Per PDU, these cost more than the PDU; and what pynetdicom and pydicom tell of has element values in it.
    _config.LOG_HANDLER_LEVEL = "none"
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
