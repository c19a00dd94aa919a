"""What a process that redacts does with memory: it keeps what it has freed for the next image."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""

KEPT = 256 << 20
"""Bytes at the end of the heap that are not given back."""

LARGE = 128 << 20
"""Bytes from which a block is asked of the system by itself, and given back as soon as it is freed."""


def keep_freed_memory() -> bool:
    """Let the allocator keep what is freed; False where it cannot be told (it is not glibc's).

    The blocks of an image are megabytes. As glibc has it, each is given back as soon as it is freed, and the next image
    has its pages made and zeroed again: 8 % of the time of the profile ``fast`` (docs/detection.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, KEPT)) and bool(mallopt(_MMAP_THRESHOLD, LARGE))
