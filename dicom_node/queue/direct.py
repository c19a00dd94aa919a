"""Files that are written past the page cache: bytes that nobody reads soon are not copied there, nor given room there.

With O_DIRECT the disk takes whole blocks out of the writer's own memory. What is no whole block, and everything where
the file system has no such way, goes through the page cache. Either way a file is durable only when it has been synced.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from contextlib import suppress

BUFFER = 1 << 20
"""Bytes of a buffer."""

_BLOCK = 1 << 12
"""Addresses, positions and lengths are multiples of this: as large as, or a multiple of, the blocks of disks."""

_KEPT = 16
_DIRECT: int = getattr(os, "O_DIRECT", 0)


class Buffers:
    """Buffers that begin on a page, used again and again: the pages of a new one cost as much as writing them."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        """Return one of :data:`BUFFER` bytes that nobody else has; something may stand in it."""
        try:
            return self._free.pop()
        except IndexError:
            return mmap.mmap(-1, BUFFER)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Let somebody else have it."""
        if len(self._free) < _KEPT:
            self._free.append(buffer)


def create(path: str) -> int:
    """Make a file of mode 0600, and return a descriptor of it for :func:`append`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    # Not when it is opened: where the file system has no such way, that fails with the file already made.
    with suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | _DIRECT)
    return descriptor


def append(descriptor: int, content: memoryview) -> None:
    """Write what stands at the beginning of a buffer: whole blocks past the page cache, as long as that can be."""
    blocks = len(content) // _BLOCK * _BLOCK
    while content:
        if not blocks:
            _use_page_cache(descriptor)
        try:
            written = os.write(descriptor, content[: blocks or None])
        except OSError as error:
            if error.errno != errno.EINVAL or not blocks:
                raise
            written, blocks = 0, 0
        content, blocks = content[written:], max(blocks - written, 0)


def rewrite(descriptor: int, beginning: bytes) -> None:
    """Write over the beginning of a file."""
    _use_page_cache(descriptor)
    written = 0
    while written < len(beginning):
        written += os.pwrite(descriptor, beginning[written:], written)


def _use_page_cache(descriptor: int) -> None:
    """Let whatever comes next begin and end where it likes, and stand anywhere in memory."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & _DIRECT:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~_DIRECT)
