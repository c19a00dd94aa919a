"""An instance on its way into the spool: written, and hashed, as it comes."""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from dicom_node.errors import SpoolFull
from dicom_node.queue.files import refusal_of, refusals
from dicom_node.queue.sidecar import ROOM, file_meta

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LONGEST_UID = 64
_FIRST_PAGE = 1 << 12
"""Bytes that the disk does not begin with: the sidecar is still to be written there."""
_WRITTEN_AT_ONCE = 1 << 18
_CHECKED_AT_ONCE = 1 << 20


class IncomingFile:
    """A file with preamble and File Meta Information (PS3.10 7.1) in front of a data set that is received.

    That there is no room is kept for whoever asks (:meth:`finish`), and no file is: the data set has to be read off
    the connection in any case, so that it can be answered.

    Parameters
    ----------
    folder : Path
        Where it is made, under a name of its own.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        For the File Meta Information; as they came, and perhaps no UIDs.
    check_room : callable
        Raises :class:`~dicom_node.errors.SpoolFull` when nothing more may be written; asked now and then.
    """

    def __init__(
        self,
        folder: Path,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        check_room: Callable[[], None],
    ) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.dcm"
        self.size = 0
        self._hash = hashlib.sha256()
        self._begun = _FIRST_PAGE
        self._descriptor = -1
        self._check_room = check_room
        self._check_at = 0
        self._refusal: SpoolFull | None = None
        elements = _file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
        self._hash.update(file_meta(elements))
        self._keep(file_meta(elements + ROOM))

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what was written, without the room for a sidecar."""
        return self._hash.hexdigest()

    def write(self, content: bytes | memoryview) -> None:
        """Append; after a refusal, nothing more is written."""
        if self._refusal:
            return
        self._hash.update(content)
        self._keep(content)

    def _keep(self, content: bytes | memoryview) -> None:
        try:
            if self.size >= self._check_at:
                self._check_room()
                self._check_at = self.size + _CHECKED_AT_ONCE
            self._append(content)
        except OSError as error:
            self._refuse(refusal_of(error))
        except SpoolFull as refusal:
            self._refuse(refusal)

    def _refuse(self, refusal: SpoolFull) -> None:
        self._refusal = refusal
        self.remove()

    def finish(self) -> None:
        """End writing.

        Raises
        ------
        SpoolFull
            When not all of it could be written.
        """
        with refusals():
            self._close()
        if self._refusal:
            raise self._refusal

    def remove(self) -> None:
        """Delete it, unless it has gone into the spool."""
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _append(self, content: bytes | memoryview) -> None:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self.size += len(content)
        while written := os.write(self._descriptor, content):
            content = content[written:]
        if self.size - self._begun >= _WRITTEN_AT_ONCE:
            self._start_writing()

    def _start_writing(self) -> None:
        """Let the disk begin while the rest comes: the sync at the end has less to wait for."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, self._begun, self.size - self._begun, os.POSIX_FADV_DONTNEED)
        self._begun = self.size

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
