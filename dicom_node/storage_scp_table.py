"""How many associations there are, and with whom, in all receivers of a node together."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections import Counter
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECORD = struct.Struct("=i48s")
"""Process id (0: free) and address of the peer."""


class AssociationTable:
    """A place for each association, in memory that the receivers share.

    The lock is one between processes: within a process, the caller has one of its own. What a receiver had that died is
    given back by the one that is started in its place.

    Parameters
    ----------
    file : file
        Without a name; every receiver has the same.
    places : int
        Most associations at once.
    """

    def __init__(self, file: IO[bytes], places: int) -> None:
        self._file = file
        self._places = range(0, places * _RECORD.size, _RECORD.size)
        with self._locked():
            missing = len(self._places) * _RECORD.size - os.fstat(file.fileno()).st_size
            # Written, not only made longer: memory without room behind it on the disk would end the process.
            os.pwrite(file.fileno(), bytes(max(missing, 0)), os.fstat(file.fileno()).st_size)
        self._memory = mmap.mmap(file.fileno(), len(self._places) * _RECORD.size)
        self._forget_the_dead()

    def take(self, peer: str, of_a_peer: int) -> int | None:
        """Take a place for an association with ``peer``; None when all are taken, or it has ``of_a_peer`` of them."""
        address = peer.encode()[:48].ljust(48, b"\0")
        with self._locked():
            records = {place: _RECORD.unpack_from(self._memory, place) for place in self._places}
            place = next((place for place, (pid, _) in records.items() if not pid), None)
            peers = Counter(other for pid, other in records.values() if pid)
            if place is None or peers[address] >= of_a_peer:
                return None
            _RECORD.pack_into(self._memory, place, os.getpid(), address)
            return place

    def give_back(self, place: int) -> None:
        """Give a place back."""
        with self._locked():
            _RECORD.pack_into(self._memory, place, 0, b"")

    def _forget_the_dead(self) -> None:
        with self._locked():
            for place in self._places:
                pid, _ = _RECORD.unpack_from(self._memory, place)
                if pid and not _lives(pid):
                    _RECORD.pack_into(self._memory, place, 0, b"")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _lives(pid: int) -> bool:
    """Whether it is another receiver that lives: a number can have come to this process, or to another user's."""
    with suppress(OSError):
        os.kill(pid, 0)
        return pid != os.getpid()
    return False
