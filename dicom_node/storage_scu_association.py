"""What pynetdicom's requestor lacks: limits in memory and time on what is being sent."""

from __future__ import annotations

import queue
import socket
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pynetdicom import AE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from dicom_node.tls import failure_of

if TYPE_CHECKING:
    from pynetdicom.association import Association

_PDUS_IN_HAND = 16


class Requestor(AE):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """Makes associations whose sending side has limits."""

    def _create_socket(self, assoc: Association, address: Any, tls_args: Any) -> _Connection:  # noqa: ANN401 - AE's
        assoc.dul.to_provider_queue = _Outgoing(assoc.dul, self.dimse_timeout)
        connection = _Connection(assoc, address=address)
        connection.tls_args = tls_args
        return connection


class _Connection(AssociationSocket):  # type: ignore[misc]  # mypy does not follow pynetdicom
    """A connection that does not wait for ever, nor for Nagle's algorithm, and is closed at its end."""

    tls_failure = ""

    def connect(self, primitive: Any) -> None:  # noqa: ANN401 - pynetdicom's signature
        super().connect(primitive)
        if self.socket is not None:
            self.socket.settimeout(self.assoc.dimse_timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _shutdown_socket(self) -> None:
        # pynetdicom closes a connection that has failed, and keeps to itself why.
        self.tls_failure = self.tls_failure or failure_of(sys.exception())
        if self.socket is not None:
            # pynetdicom's leaves a socket open that the peer has closed before.
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class _Outgoing(queue.Queue[Any]):
    """What the association has still to send: a file is read as fast as the peer takes it, not all into memory."""

    def __init__(self, dul: threading.Thread, seconds: float) -> None:
        super().__init__()
        self._dul = dul
        self._seconds = seconds
        self._room = threading.Semaphore(_PDUS_IN_HAND)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ANN401, FBT001, FBT002 - Queue's
        if isinstance(item, P_DATA):
            self._wait_for_room()
        super().put(item, block, timeout)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401, FBT001, FBT002 - Queue's
        item = super().get(block, timeout)
        if isinstance(item, P_DATA):
            self._room.release()
        return item

    def _wait_for_room(self) -> None:
        deadline = time.monotonic() + self._seconds
        while not self._room.acquire(timeout=0.2):
            if not self._dul.is_alive() or time.monotonic() > deadline:
                msg = "the peer takes no more"
                raise ConnectionError(msg)
