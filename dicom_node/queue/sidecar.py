"""What the ledger knows of an instance when it arrives, kept with the bytes so that a lost ledger can be rebuilt.

In a file that leaves room for it, it stands in the File Meta Information, as Private Information (0002,0102) (PS3.10
7.1): what is one file is durable by one sync. Digests are of the file as it would be without.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

from dicom_node.model import Origin, Priority, SOPInstance, values_of
from dicom_node.queue.digest import BLAKE3, Digest

if TYPE_CHECKING:
    from pathlib import Path

_CREATOR = b"2.25.30378307730481767096438782147372366579\0"
_LENGTH = 1024
_ROOM_BEGINS = struct.pack("<HH2sH", 2, 0x0100, b"UI", len(_CREATOR)) + _CREATOR
_ROOM_BEGINS += struct.pack("<HH2sHI", 2, 0x0102, b"OB", 0, _LENGTH)
ROOM = _ROOM_BEGINS + b" " * _LENGTH
"""The last elements of a File Meta Information that leaves room for a sidecar."""

_BEFORE_META = struct.Struct("<128s4sHH2sHI")
_GROUP_LENGTH = 2, 0, b"UL", 4
_LONGEST_META = 1 << 16
_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What the ledger knows of an instance when it arrives.

    ``digest`` is the text of a :class:`~dicom_node.queue.digest.Digest` of the bytes, ``size`` their number.
    """

    instance: SOPInstance
    origin: Origin
    digest: str
    size: int
    priority: Priority = Priority.MEDIUM

    def to_json(self) -> bytes:
        """Write it down."""
        what, whence = values_of(self.instance), values_of(self.origin)
        arrived = {"digest": self.digest, "size": self.size, "priority": int(self.priority)}
        return json.dumps({"instance": what, "origin": whence, **arrived}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Read it back.

        Raises
        ------
        ValueError
            When this is not a whole sidecar; the message carries nothing of its content.
        """
        try:
            content = json.loads(text)
            instance, origin = SOPInstance(**content.pop("instance")), Origin(**content.pop("origin"))
            priority = Priority(content.pop("priority", Priority.MEDIUM))
            # That is what older releases call it.
            digest = content.pop("sha256") if "sha256" in content else content.pop("digest")
            digest.encode()  # anything but a text raises
            return cls(instance, origin, digest, **content, priority=priority)
        except (ValueError, TypeError, KeyError, AttributeError):
            msg = "not a sidecar"
            raise ValueError(msg) from None


def file_meta(elements: bytes) -> bytes:
    """Return preamble and File Meta Information (PS3.10 7.1) of these elements, without their group length."""
    return _BEFORE_META.pack(bytes(128), b"DICM", *_GROUP_LENGTH, len(elements)) + elements


def put_into(head: bytes, sidecar: Sidecar) -> bytes | None:
    """Return preamble and File Meta Information that end in :data:`ROOM`, a sidecar there; None: it is too long."""
    text = sidecar.to_json()
    return head[:-_LENGTH] + text.ljust(_LENGTH) if len(text) <= _LENGTH else None


def read_from(path: Path) -> bytes | None:
    """Read what stands where a file has room for a sidecar; None where it has none."""
    with path.open("rb", buffering=0) as file:
        head = _head(file.fileno())
    text = head[-_LENGTH:].rstrip(b" ") if head else b""
    return text or None


def digest_of(path: Path, like: str = BLAKE3) -> str:
    """Return the digest of a file, as it would be without a sidecar in it; ``like``: what it is to be compared with."""
    with path.open("rb", buffering=0) as file:
        digest, piece = Digest(_begin(file), like), memoryview(bytearray(_PIECE))
        while count := file.readinto(piece):
            digest.update(piece[:count])
    return digest.text


def copy_without(source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file as it would be without a sidecar in it: what it says of the sender is the node's own."""
    target.write(_begin(source))
    shutil.copyfileobj(source, target)


def _begin(file: BinaryIO) -> bytes:
    """Go to the end of a sidecar's room, if there is one; return what stands before, as it would be without."""
    head = _head(file.fileno())
    if head is None:
        return b""
    file.seek(len(head))
    return file_meta(head[_BEFORE_META.size : -len(ROOM)])


def _head(descriptor: int) -> bytes | None:
    """Read preamble and File Meta Information; None where they leave no room for a sidecar."""
    before = os.pread(descriptor, _BEFORE_META.size, 0)
    if len(before) < _BEFORE_META.size:
        return None
    _, prefix, *element, length = _BEFORE_META.unpack(before)
    if prefix != b"DICM" or tuple(element) != _GROUP_LENGTH or not len(ROOM) <= length <= _LONGEST_META:
        return None
    head = os.pread(descriptor, _BEFORE_META.size + length, 0)
    is_there = len(head) == _BEFORE_META.size + length and head[-len(ROOM) :].startswith(_ROOM_BEGINS)
    return head if is_there else None
