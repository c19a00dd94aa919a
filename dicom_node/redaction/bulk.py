"""Large values that are not held in memory twice: read from a map of the file, written from the parts they are in."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from io import BufferedIOBase
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LARGE = 16 << 20
"""Bytes from which a value is not copied together."""


class Parts(BufferedIOBase):
    """Parts one behind the other, as pydicom writes a buffered value: none of them is copied.

    Parameters
    ----------
    parts : sequence of bytes-like
        What is read.
    """

    def __init__(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        self._parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self._ends = list(accumulate(len(part) for part in self._parts))
        self._position = 0

    @property
    def memory(self) -> memoryview:
        """The value as one piece; copied together when it is in several."""
        return self._parts[0] if len(self._parts) == 1 else memoryview(b"".join(self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it can be read from any position: yes."""
        return True

    def tell(self) -> int:
        """Return the position that is read next."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, from the start, from here or from the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or all that are left."""
        left = max(0, len(self) - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        taken: list[memoryview] = []
        while wanted:
            index = bisect_right(self._ends, self._position)
            part = self._parts[index]
            start = self._position - (self._ends[index] - len(part))
            piece = part[start : start + wanted]
            taken.append(piece)
            self._position += len(piece)
            wanted -= len(piece)
        return b"".join(taken)


def mapped(path: Path, offset: int, length: int) -> Parts:
    """Map a part of a file: writing changes pages of this process's own, never the file.

    Raises
    ------
    ValueError
        When the file is shorter.
    """
    with path.open("rb") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    if len(memory) < offset + length:
        msg = "the file is shorter than it says"
        raise ValueError(msg)
    return Parts([memory[offset : offset + length]])
