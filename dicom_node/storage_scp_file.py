"""An instance on its way into the spool: written, and hashed, as it comes."""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_UID = 64
_WRITTEN_AT_ONCE = 1 << 18


class IncomingFile:
    """A file with preamble and File Meta Information (PS3.10 7.1) in front of a data set that is received.

    An error of the file system is kept for whoever asks (:meth:`finish`): the data set has to be read off the
    connection in any case, so that it can be answered.

    Parameters
    ----------
    folder : Path
        Where it is made, under a name of its own.
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
        For the File Meta Information; as they came, and perhaps no UIDs.
    """

    def __init__(self, folder: Path, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.dcm"
        self.size = 0
        self._hash = hashlib.sha256()
        self._begun = 0
        self._descriptor = -1
        self._error: OSError | None = None
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            self._error = error
        self.write(bytes(128) + b"DICM" + _file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid))

    @property
    def sha256(self) -> str:
        """Hexadecimal digest of what was written."""
        return self._hash.hexdigest()

    def write(self, content: bytes | memoryview) -> None:
        """Append; after an error, nothing more is written."""
        if self._error:
            return
        self._hash.update(content)
        self.size += len(content)
        try:
            while written := os.write(self._descriptor, content):
                content = content[written:]
            if self.size - self._begun >= _WRITTEN_AT_ONCE:
                self._start_writing()
        except OSError as error:
            self._error = error
            self.remove()

    def finish(self) -> None:
        """End writing.

        Raises
        ------
        OSError
            When not all of it could be written.
        """
        self._close()
        if self._error:
            raise self._error

    def remove(self) -> None:
        """Delete it, unless it has gone into the spool."""
        self._close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _start_writing(self) -> None:
        """Let the disk begin while the rest comes: the sync at the end has less to wait for."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, self._begun, self.size - self._begun, os.POSIX_FADV_DONTNEED)
        self._begun = self.size

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    uids = {0x0002: sop_class_uid, 0x0003: sop_instance_uid, 0x0010: transfer_syntax_uid}
    uids[0x0012] = PYNETDICOM_IMPLEMENTATION_UID
    elements = struct.pack("<HH2sHI2s", 2, 0x0001, b"OB", 0, 2, b"\0\1")
    for element, uid in uids.items():
        value = uid.encode("ascii", "replace")[:_LONGEST_UID]
        elements += _short(element, b"UI", value + b"\0" * (len(value) % 2))
    version = PYNETDICOM_IMPLEMENTATION_VERSION.encode()
    elements += _short(0x0013, b"SH", version + b" " * (len(version) % 2))
    return _short(0x0000, b"UL", struct.pack("<I", len(elements))) + elements


def _short(element: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value
