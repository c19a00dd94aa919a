"""How much of the receiver one peer may take: connections, associations, and what a message is made of.

Whoever reaches the port can open connections, and send what he likes over them, before anything is known of him. What
that costs the node is bounded here, and bounded so that it costs the others nothing.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pynetdicom.dimse_messages import C_STORE_RQ, N_EVENT_REPORT_RQ, DIMSEMessage

MAXIMUM_COMMAND_SET = 1 << 16
"""Longest command set, in bytes: those of C-STORE and C-ECHO have some hundred."""

MAXIMUM_REPORT = 1 << 20
"""Longest report of storage commitment, in bytes: each of the instances that are asked for together has some 200."""

_COMMAND = 0x01


@dataclass(slots=True, eq=False)
class _Connection:
    request: socket.socket
    peer: str
    is_associated: bool = False
    is_ended: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether it takes room, and nothing is known of it yet."""
        return not (self.is_associated or self.is_ended)

    def end(self) -> None:
        """Hang up; the thread that waits for its peer sees that, and gives the connection back."""
        self.is_ended = True
        # Not SSLSocket's own: that would take the session away under the thread that uses it.
        with suppress(OSError):
            socket.socket.shutdown(self.request, socket.SHUT_RDWR)


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
    """

    def __init__(self, associations: int, of_a_peer: int) -> None:
        self._associations = associations
        self._of_a_peer = of_a_peer
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
            peers = Counter(connection.peer for connection in self._open.values() if connection.is_associated)
            own.is_associated = peers.total() < self._associations and peers[own.peer] < self._of_a_peer
            return own.is_associated

    def forget(self, request: socket.socket) -> None:
        """Give a connection back."""
        with self._lock:
            self._open.pop(request, None)


def _oldest_of_the_largest(waiting: list[_Connection]) -> _Connection:
    ((peer, _),) = Counter(connection.peer for connection in waiting).most_common(1)
    return next(connection for connection in waiting if connection.peer == peer)


def check_fragment(message: Any, fragment: bytes) -> None:  # noqa: ANN401 - pynetdicom's, or None before a message
    """See that a fragment (PS3.8 E.2) goes on with the message, and that what is kept of it in memory is bounded.

    pynetdicom takes command sets of any length, several in one message (each with a file of its own), and data sets
    of services that have none, all of it into memory.

    Raises
    ------
    ValueError
        When it does not.
    """
    has_command = message is not None and type(message) is not DIMSEMessage
    if not fragment[0] & _COMMAND:
        if isinstance(message, C_STORE_RQ):
            return
        if isinstance(message, N_EVENT_REPORT_RQ) and message.data_set.tell() + len(fragment) <= MAXIMUM_REPORT:
            return
        msg = "a data set that belongs to no C-STORE, or a report that is too long"
        raise ValueError(msg)
    length = 0 if message is None else message.encoded_command_set.tell()
    if has_command or length + len(fragment) > MAXIMUM_COMMAND_SET:
        msg = "a second command set, or one that is too long"
        raise ValueError(msg)
