"""A destination that does as a test says, counts what it is asked for, and can be put right."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import CTImageStorage, MRImageStorage, Verification

from tests.support.processes import free_port

if TYPE_CHECKING:
    from pynetdicom.events import Event
    from pynetdicom.transport import ThreadedAssociationServer


@dataclass(frozen=True)
class Behaviour:
    """How a destination answers.

    Attributes
    ----------
    store : int or None
        Status of C-STORE; None leaves it out of the response.
    echo : int
        Status of C-ECHO.
    seconds : float
        How long a C-STORE takes.
    aborts : bool
        Whether it aborts in the place of answering a C-STORE.
    takes_storage, takes_associations : bool
        Whether it accepts contexts of storage, and the Called AE Title.
    """

    store: int | None = 0x0000
    echo: int = 0x0000
    seconds: float = 0.0
    aborts: bool = False
    takes_storage: bool = True
    takes_associations: bool = True


WELL = Behaviour()


class Stored(NamedTuple):
    """One C-STORE-RQ as it came, with the time of this machine's clock that never goes back."""

    sop_instance_uid: str
    study_instance_uid: str
    priority: int
    at: float


class ScriptedSCP:
    """One destination, in this process; it is not started yet.

    Attributes
    ----------
    asked : list of Stored
        Every C-STORE.
    stored : list of Stored
        Those that it has said it has kept.
    echoes : int
        C-ECHO requests.
    """

    def __init__(self, ae_title: str, behaviour: Behaviour = WELL) -> None:
        self.ae_title = ae_title
        self.port = free_port()
        self.behaviour = behaviour
        self.asked: list[Stored] = []
        self.stored: list[Stored] = []
        self.echoes = 0
        self._server: ThreadedAssociationServer | None = None

    @property
    def destination(self) -> dict[str, Any]:
        """How a node's configuration names it."""
        return {"ae_title": self.ae_title, "host": "127.0.0.1", "port": self.port, "connect_timeout": 5}

    def start(self) -> None:
        """Listen."""
        ae = AE(self.ae_title if self.behaviour.takes_associations else "ANOTHER")
        ae.require_called_aet = True
        ae.add_supported_context(Verification)
        if self.behaviour.takes_storage:
            for sop_class in (CTImageStorage, MRImageStorage):
                ae.add_supported_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        handlers = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_ACCEPTED, self._on_accepted),
        ]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def end(self) -> None:
        """Stop listening, and abort what is open."""
        if self._server:
            shut_down(self._server)
            self._server = None

    def become(self, behaviour: Behaviour) -> None:
        """Behave otherwise from now on."""
        self.end()
        self.behaviour = behaviour
        self.start()

    def uids(self) -> set[str]:
        """Return the SOP Instance UIDs of what it has."""
        return {each.sop_instance_uid for each in self.stored}

    def _on_store(self, event: Event) -> int:
        behaviour, request = self.behaviour, event.request
        study = str(event.dataset.StudyInstanceUID)
        one = Stored(str(request.AffectedSOPInstanceUID), study, int(request.Priority), time.monotonic())
        self.asked.append(one)
        time.sleep(behaviour.seconds)
        if behaviour.aborts:
            event.assoc.abort()
        elif behaviour.store in (0x0000, 0xB000):
            self.stored.append(one)
        return 0x0000 if behaviour.store is None else behaviour.store

    def _on_echo(self, _event: Event) -> int:
        self.echoes += 1
        return self.behaviour.echo

    def _on_accepted(self, event: Event) -> None:
        if self.behaviour.store is None:
            _leave_status_out(event.assoc.dimse)


def shut_down(server: ThreadedAssociationServer) -> None:
    """Stop listening, and abort what is established.

    pynetdicom's ``AE.shutdown`` aborts also what has only connected, and what it has just rejected. Its state machine
    has no such event there (Evt15 in Sta2 or Sta13), and its thread ends in an exception.
    """
    server.shutdown()
    for association in server.ae.active_associations:
        if association.is_established:
            association.abort()


def _leave_status_out(dimse: Any) -> None:  # noqa: ANN401 - pynetdicom's provider
    """Answer C-STORE without the Status (0000,0900) that a response has to have (PS3.7 9.3.1.2)."""
    send = dimse.send_msg

    def without_status(primitive: Any, context_id: int) -> None:  # noqa: ANN401 - pynetdicom's signature
        if isinstance(primitive, C_STORE):
            primitive._status = None  # noqa: SLF001 - its setter wants a number
        send(primitive, context_id)

    dimse.send_msg = without_status


class BlackHole:
    """Accepts connections, and never says a word."""

    def __init__(self, port: int = 0) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._open: list[socket.socket] = []
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """How often somebody has connected."""
        return len(self._open)

    def end(self) -> None:
        """Close everything."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                self._open.append(self._server.accept()[0])
            except OSError:
                return
