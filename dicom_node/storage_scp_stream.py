"""Bytes off a connection: PDUs of bounded length in bounded time, without a copy of what is large."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_BUFFER = 1 << 18


class Stream:
    """Reads PDUs (PS3.8 9.3.1) by their parts.

    Parameters
    ----------
    peer : socket.socket
        Its time-out is how long a peer may be silent, and how long a PDU may take.
    """

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._view = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0
        self._deadline = float("inf")

    def pdu(self, longest: int) -> tuple[int, int]:
        """Wait for the next PDU; return its type, and its length in bytes.

        Raises
        ------
        EOFError
            When the peer has hung up.
        OSError
            When it is silent for too long, or says nothing more before the PDU is whole.
        ValueError
            When the PDU is longer than ``longest``.
        """
        self._deadline = float("inf")
        if self._start == self._end:
            self._receive()
        self._deadline = time.monotonic() + (self._peer.gettimeout() or 0.0)
        kind, length = struct.unpack(">BxI", self.read(6))
        if length > longest:
            msg = "the PDU is too long"
            raise ValueError(msg)
        return kind, length

    def read(self, count: int) -> bytes:
        """Read ``count`` bytes of the PDU."""
        if self._end - self._start >= count:
            self._start += count
            return bytes(self._view[self._start - count : self._start])
        return b"".join(map(bytes, self.pieces(count)))

    def pieces(self, count: int) -> Iterator[memoryview]:
        """Read ``count`` bytes of the PDU, as they come; a piece is good until the next one."""
        while count:
            if self._start == self._end:
                self._receive()
            stop = min(self._end, self._start + count)
            piece = self._view[self._start : stop]
            count -= len(piece)
            self._start = stop
            yield piece

    def skip(self, count: int) -> None:
        """Leave out ``count`` bytes of the PDU."""
        for _ in self.pieces(count):
            pass

    def _receive(self) -> None:
        self._start = self._end = 0
        self._end = self._peer.recv_into(self._view)
        if not self._end:
            raise EOFError
        if time.monotonic() > self._deadline:
            raise TimeoutError
