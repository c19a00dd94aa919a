"""How much of the receiver one peer may take: connections and associations.

Whoever reaches the port can open connections, and send what he likes over them, before anything is known of him. What
that costs the node is bounded here, and bounded so that it costs the others nothing.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicom_node.storage_scp_table import AssociationTable


@dataclass(slots=True, eq=False)
class _Connection:
    request: socket.socket
    peer: str
    place: int | None = None
    is_ended: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether it takes room, and nothing is known of it yet."""
        return self.place is None and not self.is_ended

    def end(self, how: int = socket.SHUT_RDWR) -> None:
        """Hang up; the thread that waits for its peer sees that, and gives the connection back."""
        self.is_ended = True
        # Not SSLSocket's own: that would take the session away under the thread that uses it.
        with suppress(OSError):
            socket.socket.shutdown(self.request, how)


class Connections:
    """The connections there are, with and without an association.

    A peer that connects and says nothing costs him nothing. When there is no room, a connection without an association
    goes to make some: the oldest of the peer that has most of them. Who asks for an association as soon as he is
    connected is never the oldest.

    Parameters
    ----------
    associations : int
        Most associations at once, and most connections that have none yet.
    of_a_peer : int
        Most associations with one address.
    table : AssociationTable
        The associations of all receivers; connections that have none are counted by each for itself.
    """

    def __init__(self, associations: int, of_a_peer: int, table: AssociationTable) -> None:
        self._associations = associations
        self._of_a_peer = of_a_peer
        self._table = table
        self._open: dict[socket.socket, _Connection] = {}  # the oldest first
        self._lock = threading.Lock()

    def admit(self, request: socket.socket, peer: str) -> bool:
        """Take a connection in; False when even those that were hung up on have not gone yet."""
        with self._lock:
            waiting = [connection for connection in self._open.values() if connection.is_waiting]
            if len(waiting) >= self._associations:
                _oldest_of_the_largest(waiting).end()
            if len(self._open) >= 3 * self._associations:
                return False
            self._open[request] = _Connection(request, peer)
            return True

    def associate(self, request: socket.socket) -> bool:
        """Give an admitted connection an association, if there is one left for its peer."""
        with self._lock:
            own = self._open[request]
            own.place = self._table.take(own.peer, self._of_a_peer)
            return own.place is not None

    def leave(self, request: socket.socket) -> None:
        """Give the association of a connection back; what is left of the connection waits for its peer to go."""
        with self._lock:
            own = self._open[request]
            own.is_ended = True
            if own.place is not None:
                self._table.give_back(own.place)
                own.place = None

    def forget(self, request: socket.socket) -> None:
        """Give a connection back, if it is still there."""
        with self._lock:
            own = self._open.pop(request, None)
            if own and own.place is not None:
                self._table.give_back(own.place)

    def end(self, how: int) -> None:
        """Hang up on all."""
        with self._lock:
            for connection in self._open.values():
                connection.end(how)

    def __len__(self) -> int:
        """Count the connections there are."""
        return len(self._open)


def _oldest_of_the_largest(waiting: list[_Connection]) -> _Connection:
    ((peer, _),) = Counter(connection.peer for connection in waiting).most_common(1)
    return next(connection for connection in waiting if connection.peer == peer)
