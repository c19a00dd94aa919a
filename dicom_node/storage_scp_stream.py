"""Bytes off a connection: PDUs of bounded length in bounded time, without a copy of what is large."""

from __future__ import annotations

import socket
import struct
import time

from dicom_node.tls import speaks_tls

_BUFFER = 1 << 14
"""Bytes that are received before somebody says where they are wanted."""


class Stream:
    """Reads PDUs (PS3.8 9.3.1) by their parts.

    Parameters
    ----------
    peer : socket.socket
        Its time-outs are the stream's to set.
    seconds : float
        How long the peer may be silent, and how long a PDU may take.
    """

    def __init__(self, peer: socket.socket, seconds: float) -> None:
        self._peer = peer
        self._view = memoryview(bytearray(_BUFFER))
        self._start = self._end = 0
        self._deadline = float("inf")
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """Set how long the peer may be silent from now on, and how long a PDU may take."""
        self._seconds = seconds
        self._whole = 0
        if speaks_tls(self._peer):
            self._peer.settimeout(seconds)
            return
        # Python's own time-out is one more call before each, and with it the kernel waits for no more than comes first.
        self._peer.settimeout(None)
        self._whole = socket.MSG_WAITALL
        microseconds = max(int(seconds * 1e6), 1)  # 0 would be for ever
        interval = struct.pack("ll", *divmod(microseconds, 1_000_000))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._peer.setsockopt(socket.SOL_SOCKET, option, interval)

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
        self._deadline = time.monotonic() + self._seconds
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
        content = bytearray(count)
        view = memoryview(content)
        while view:
            view = view[self.read_into(view) :]
        return bytes(content)

    def read_into(self, view: memoryview) -> int:
        """Read what comes of the PDU, at most as much as ``view`` has room for; return how many bytes that was."""
        if self._start == self._end:
            if len(view) >= _BUFFER:
                return self._receive_into(view, self._whole)
            self._receive()
        count = min(self._end - self._start, len(view))
        view[:count] = self._view[self._start : self._start + count]
        self._start += count
        return count

    def skip(self, count: int) -> None:
        """Leave out ``count`` bytes of the PDU."""
        while count:
            if self._start == self._end:
                self._receive()
            left_out = min(self._end - self._start, count)
            self._start += left_out
            count -= left_out

    def _receive(self) -> None:
        self._start = self._end = 0
        self._end = self._receive_into(self._view)

    def _receive_into(self, view: memoryview, flags: int = 0) -> int:
        count = self._peer.recv_into(view, 0, flags)
        if not count:
            raise EOFError
        if time.monotonic() > self._deadline:
            raise TimeoutError
        return count
