"""A PACS that is asked for storage commitment: written with pynetdicom, because it has to do as a test says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, StorageCommitmentPushModel, Verification

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Sequence

    from pynetdicom.association import Association
    from pynetdicom.events import Event

INSTANCE = UID("1.2.840.10008.1.20.1.1")
AE_TITLE = "PACS"


class CommittingPACS:
    """Stores, remembers what it is asked to commit to, and reports when and how it is told.

    Parameters
    ----------
    commits : bool
        Whether it accepts the Push Model at all.
    at_once : bool
        Whether it reports by itself, on the association on which it is asked.
    tls : ssl.SSLContext, optional
        With which it listens.
    """

    def __init__(self, *, commits: bool = True, at_once: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.stored: list[str] = []
        self.requests: list[tuple[str, list[str]]] = []
        self.failing: dict[str, int] = {}
        self.answers = 0x0000
        self.heard: list[int | None] = []
        self._at_once = at_once
        self._sockets: list[socket.socket] = []
        ae = AE(AE_TITLE)
        for abstract in (Verification, CTImageStorage, MRImageStorage):
            ae.add_supported_context(abstract)
        if commits:
            ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._on_action),
        ]
        self._server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
        self.port = int(self._server.server_address[1])

    @property
    def destination(self) -> dict[str, Any]:
        """How a node's configuration names it."""
        return {"ae_title": AE_TITLE, "host": "127.0.0.1", "port": self.port, "storage_commitment": True}

    def report(
        self, port: int, request: int = -1, calling: str = AE_TITLE, tls: ssl.SSLContext | None = None
    ) -> int | None:
        """Report on a request (the last one), on an association of its own; return the status that it hears."""
        association = self.associate(port, calling, tls=tls)
        try:
            return _reported(association, *self.requests[request], self.failing)
        finally:
            association.release()

    def associate(
        self, port: int, calling: str = AE_TITLE, *, as_scp: bool = True, tls: ssl.SSLContext | None = None
    ) -> Association:
        """Call the node, and propose the Push Model, with the roles reversed or as one who asks."""
        ae = AE(calling)
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if as_scp else []
        opened = [(evt.EVT_CONN_OPEN, lambda event: self._sockets.append(event.assoc.dul.socket.socket))]
        contexts = [build_context(StorageCommitmentPushModel), build_context(Verification)]
        return ae.associate(
            "127.0.0.1",
            port,
            contexts,
            "DICOM_NODE",
            ext_neg=roles,
            evt_handlers=opened,
            tls_args=(tls, "127.0.0.1") if tls else None,
        )

    def end(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.shutdown()
        self._server = None
        for each in self._sockets:
            each.close()

    def _on_store(self, event: Event) -> int:
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def _on_action(self, event: Event) -> tuple[int, None]:
        asked = event.action_information
        uids = [str(item.ReferencedSOPInstanceUID) for item in asked.ReferencedSOPSequence]
        self.requests.append((str(asked.TransactionUID), uids))
        if self._at_once and self.answers == 0x0000:
            threading.Timer(0.2, self._report_there, (event.assoc, *self.requests[-1])).start()
        return self.answers, None

    def _report_there(self, association: Association, transaction_uid: str, uids: Sequence[str]) -> None:
        self.heard.append(_reported(association, transaction_uid, uids, self.failing))


def _reported(
    association: Association, transaction_uid: str, uids: Sequence[str], failing: dict[str, int]
) -> int | None:
    """Send the report on a request (PS3.4 table J.3-2), and return the status."""
    information = Dataset()
    information.TransactionUID = UID(transaction_uid)
    failed = [uid for uid in uids if uid in failing]
    information.ReferencedSOPSequence = [_reference(uid) for uid in uids if uid not in failing]
    if failed:
        information.FailedSOPSequence = [_reference(uid, failing[uid]) for uid in failed]
    event_type = 2 if failed else 1
    status, _ = association.send_n_event_report(information, event_type, StorageCommitmentPushModel, INSTANCE)
    value = status.get("Status")
    return None if value is None else int(value)


def _reference(uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, UID(uid)
    if reason is not None:
        item.FailureReason = reason
    return item
