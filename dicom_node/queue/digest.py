"""What tells bytes from other bytes: BLAKE3, of 256 bits, in a text that says so.

Older releases wrote SHA-256, in a text of nothing but hexadecimal digits: that is still understood. SHA-256 takes four
times as long, and was a fifth of what it costs to receive an instance (``docs/decisions/0017-arrivals.md``).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BLAKE3 = "blake3:"
"""With this the text of a digest begins."""


class Digest:
    """The digest of what comes piece by piece.

    Parameters
    ----------
    begin : bytes
        The first piece.
    like : str, optional
        The text of another digest, which this one is to be compared with.
    """

    def __init__(self, begin: bytes = b"", like: str = BLAKE3) -> None:
        self._name = BLAKE3 if like.startswith(BLAKE3) else ""
        self._hash = blake3(begin) if self._name else hashlib.sha256(begin)

    def update(self, piece: ReadableBuffer) -> None:
        """Take the next piece; other threads go on meanwhile."""
        self._hash.update(piece)

    @property
    def text(self) -> str:
        """Of all that has come."""
        return f"{self._name}{self._hash.hexdigest()}"
