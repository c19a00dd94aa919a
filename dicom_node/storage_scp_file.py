"""An instance on its way into the spool: received into a buffer, and written when that is full or all has come."""

from __future__ import annotations

import mmap
import os
import struct
import uuid
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_node.errors import SpoolFull
from dicom_node.queue.digest import Digest
from dicom_node.queue.direct import append, create, rewrite
from dicom_node.queue.files import refusal_of, refusals, remove, sync_file
from dicom_node.queue.sidecar import ROOM, file_meta, put_into

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dicom_node.queue import Sidecar
from dicom_node.queue.direct import Buffers

_LONGEST_UID = 64


class IncomingFile:
    """A file with preamble and File Meta Information (PS3.10 7.1) in front of a data set that is received.

    That there is no room is kept for whoever asks (:meth:`finish`), and no file is: the data set has to be read off
    the connection in any case, so that it can be answered.

    Parameters
    ----------
    folder : Path
        Where it is made, under a name of its own.
    uids : tuple of str
        SOP Class, SOP Instance and Transfer Syntax UID, for the File Meta Information; as they came, and perhaps none.
    check_room : callable
        Raises :class:`~dicom_node.errors.SpoolFull` when nothing more may be written; asked for each buffer.
    buffers : Buffers
        One of them is this file's until :meth:`remove`. What fits into it is written once, with its sidecar.
    """

    def __init__(
        self,
        folder: Path,
        uids: tuple[str, str, str],
        check_room: Callable[[], None],
        buffers: Buffers,
    ) -> None:
        self.path = f"{folder}/{uuid.uuid4().hex}.dcm"
        self._check_room = check_room
        self._buffers = buffers
        self._buffer: mmap.mmap | None = buffers.take()
        self._view = memoryview(self._buffer)
        self._descriptor = -1
        self._is_here = False
        self._written = 0
        self._refusal: SpoolFull | None = None
        elements = _file_meta(*uids)
        self._digest = Digest(file_meta(elements))
        self._head = file_meta(elements + ROOM)
        self._view[: len(self._head)] = self._head
        self._filled = self._digested = len(self._head)
        self._ask()

    @property
    def size(self) -> int:
        """Bytes that have come, with those of the File Meta Information."""
        return self._written + self._filled

    @property
    def digest(self) -> str:
        """Text of the digest of a file that is finished, without the room for a sidecar."""
        return self._digest.text

    def room(self, size: int) -> memoryview:
        """Return where the next of ``size`` bytes may be put."""
        if self._filled == len(self._view):
            self._ask()
            self._write()
        return self._view[self._filled : self._filled + size]

    def fill(self, count: int) -> None:
        """Take in so many bytes that were put there."""
        self._filled += count

    def finish(self) -> None:
        """End it: all has come.

        Raises
        ------
        SpoolFull
            When not all of it could be written.
        """
        self._take_digest()
        self._check()

    @contextmanager
    def content(self) -> Iterator[memoryview | mmap.mmap]:
        """Lend the bytes of a file that is finished; those that fit into a buffer were not written yet."""
        if not self._written:
            yield self._view[: self._filled]
            return
        with self.open() as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped

    def open(self) -> BinaryIO:
        """Open a file that is finished for reading; its sidecar is not in it yet."""
        if not self._written:
            return BytesIO(self._view[: self._filled])
        self._write_all()
        return Path(self.path).open("rb")

    def seal(self, sidecar: Sidecar) -> bool:
        """Make a file that is finished durable, with its sidecar in it; without, and False, where that has no room.

        From here on it is the spool's.

        Raises
        ------
        SpoolFull
            When it is not durable.
        """
        head = put_into(self._head, sidecar)
        if head and not self._written:
            self._view[: len(head)] = head
            head = b""
        self._write_all()
        with refusals():
            if head:
                rewrite(self._descriptor, head)
            sync_file(self._descriptor)
            self._close()
        self._is_here = False
        return head is not None

    def remove(self) -> None:
        """Delete it, unless it is the spool's, and give the buffer back."""
        self._delete()
        if self._buffer:
            self._buffers.give_back(self._buffer)
            self._buffer, self._view = None, memoryview(b"")

    def _ask(self) -> None:
        """Ask for room, once more for each buffer."""
        try:
            if not self._refusal:
                self._check_room()
        except SpoolFull as refusal:
            self._refuse(refusal)

    def _check(self) -> None:
        if self._refusal:
            raise self._refusal

    def _take_digest(self) -> None:
        self._digest.update(self._view[self._digested : self._filled])
        self._digested = self._filled

    def _write(self) -> None:
        """Write what is in the buffer, and begin it anew; after a refusal, nothing more is written."""
        self._take_digest()
        content = self._view[: self._filled]
        self._written += self._filled
        self._filled = self._digested = 0
        try:
            if not self._refusal:
                self._append(content)
        except OSError as error:
            self._refuse(refusal_of(error))

    def _write_all(self) -> None:
        if self._filled:
            self._write()
        self._check()

    def _append(self, content: memoryview) -> None:
        if self._descriptor < 0:
            self._descriptor = create(self.path)
            self._is_here = True
        append(self._descriptor, content)

    def _refuse(self, refusal: SpoolFull) -> None:
        self._refusal = refusal
        self._delete()

    def _delete(self) -> None:
        with suppress(OSError):
            self._close()
        if self._is_here:
            remove(Path(self.path))

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    uids = {0x0002: sop_class_uid, 0x0003: sop_instance_uid, 0x0010: transfer_syntax_uid}
    uids[0x0012] = PYNETDICOM_IMPLEMENTATION_UID
    elements = struct.pack("<HH2sHI2s", 2, 0x0001, b"OB", 0, 2, b"\0\1")
    for element, uid in uids.items():
        value = uid.encode("ascii", "replace")[:_LONGEST_UID]
        elements += _short(element, b"UI", value + b"\0" * (len(value) % 2))
    version = PYNETDICOM_IMPLEMENTATION_VERSION.encode()
    elements += _short(0x0013, b"SH", version + b" " * (len(version) % 2))
    return elements


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
