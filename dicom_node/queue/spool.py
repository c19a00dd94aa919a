"""The bytes and the truth: files written once, durable before anybody is told so.

::

    incoming/                     being written by a receiver
    received/<id>.json            the sidecar: what arrived and where it came from, so that the ledger can be rebuilt
    received/<id>.dcm             as it arrived, never altered
    redacted/<id>.<attempts>.dcm  clean; a new file per attempt, so that a late worker cannot overwrite another's

A file appears under its name only when it is whole: temporary file, fsync, rename, fsync of the directory. Names are
made of the node's own ids, never of anything off the wire. Files have mode 0600, directories 0700.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO, Self

from dicom_node.errors import ConfigurationError, SpoolFull
from dicom_node.model import Origin, Priority, SOPInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from pathlib import Path

_ENTRY_ID = re.compile(r"[0-9a-f]{32}")
_REDACTED_NAME = re.compile(r"([0-9a-f]{32})\.[0-9]+\.dcm")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What the ledger knows of an instance when it arrives.

    ``sha256`` is the hexadecimal digest of the bytes, ``size`` their number.
    """

    instance: SOPInstance
    origin: Origin
    sha256: str
    size: int
    priority: Priority = Priority.MEDIUM

    def to_json(self) -> bytes:
        """Write it down."""
        return json.dumps(asdict(self)).encode()

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
            return cls(instance, origin, **content, priority=priority)
        except (ValueError, TypeError, KeyError, AttributeError):
            msg = "not a sidecar"
            raise ValueError(msg) from None


class Spool:
    """Where instances stand while they are the node's.

    Parameters
    ----------
    root : Path
        Its directory, on one file system.
    minimum_free_bytes : int
        With less room than this, nothing new is taken in.
    """

    def __init__(self, root: Path, minimum_free_bytes: int = 0) -> None:
        self.root = root
        self.minimum_free_bytes = minimum_free_bytes
        self.incoming = root / "incoming"
        self._received = root / "received"
        self._redacted = root / "redacted"

    def prepare(self) -> None:
        """Make the directories.

        Raises
        ------
        ConfigurationError
            When one of them cannot be made, is not this user's, or others may read or write there.
        """
        try:
            self.root.parent.mkdir(parents=True, exist_ok=True)
            for directory in (self.root, self.incoming, self._received, self._redacted):
                directory.mkdir(mode=0o700, exist_ok=True)
                _refuse_if_shared(directory)
            _sync_directory(self.root)
            _sync_directory(self.root.parent)
        except OSError as error:
            msg = f"spool {self.root}: cannot be prepared: {error.strerror}"
            raise ConfigurationError(msg) from None

    def check_room(self) -> None:
        """See whether an instance may come in.

        Raises
        ------
        SpoolFull
            When less than the minimum is free, inodes have run out, or the spool cannot be reached.
        """
        try:
            room = os.statvfs(self.root)
        except OSError as error:
            raise _full(error) from None
        if room.f_bavail * room.f_frsize < self.minimum_free_bytes:
            msg = "less free space than the configured minimum"
            raise SpoolFull(msg)
        # A file system without a fixed number of inodes says that it has 0 of them.
        if room.f_files and not room.f_favail:
            msg = "no inodes left"
            raise SpoolFull(msg)

    def put(self, incoming: Path, entry_id: str, sidecar: Sidecar) -> Path:
        """Take a received file in; it is durable, with its sidecar, when this returns.

        The sidecar comes first, so that bytes that stand here can always be told apart. ``entry_id`` has to be new.

        Raises
        ------
        SpoolFull
            On any error of the file system: nothing was taken in, and what was begun is gone.
        """
        path, note = self.original(entry_id), self._sidecar(entry_id)
        try:
            _write_whole(note, lambda file: file.write(sidecar.to_json()))
            incoming.chmod(0o600)
            _sync_file(incoming)
            incoming.replace(path)
            _sync_directory(self._received)
        except OSError as error:
            for half in (path, note):
                with suppress(OSError):
                    half.unlink(missing_ok=True)
            raise _full(error) from None
        return path

    def original(self, entry_id: str) -> Path:
        """Path of the bytes as they arrived."""
        return self._received / f"{_checked(_ENTRY_ID, entry_id)}.dcm"

    def redacted(self, name: str) -> Path:
        """Path of a clean file, by the name the ledger has for it."""
        return self._redacted / _checked(_REDACTED_NAME, name)

    def sidecar(self, entry_id: str) -> Sidecar:
        """Read the sidecar of an entry.

        Raises
        ------
        OSError, ValueError
            When it is missing or cannot be read, or is not a sidecar.
        """
        return Sidecar.from_json(self._sidecar(entry_id).read_bytes())

    def entry_ids(self) -> Iterator[str]:
        """Every entry whose bytes are here."""
        with os.scandir(self._received) as files:
            for file in files:
                entry_id, _, suffix = file.name.partition(".")
                if suffix == "dcm" and _ENTRY_ID.fullmatch(entry_id):
                    yield entry_id

    def write_redacted(self, entry_id: str, attempts: int, write: Callable[[BinaryIO], object]) -> Path:
        """Write a clean file; it is durable when this returns, and on any failure nothing of it stays.

        Raises
        ------
        SpoolFull
            When there is no room for it. Whatever else ``write`` raises comes through as it is.
        """
        path = self.redacted(f"{entry_id}.{attempts}.dcm")
        try:
            _write_whole(path, write)
            _sync_directory(self._redacted)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            raise _full(error) from None
        return path

    def age(self, entry_id: str) -> float:
        """Seconds since the bytes of an entry were written; 0 when they are gone."""
        return _age(self.original(entry_id))

    def remove(self, entry_id: str, attempts: int) -> None:
        """Delete the bytes of an entry, its clean files of up to ``attempts`` attempts, and at last its sidecar.

        The number spares a walk through a directory of thousands for every instance that was sent. What it misses (a
        late worker's file) has no original any more, and goes at the next :meth:`sweep`.
        """
        self.original(entry_id).unlink(missing_ok=True)
        for attempt in range(attempts + 1):
            self.redacted(f"{entry_id}.{attempt}.dcm").unlink(missing_ok=True)
        self._sidecar(entry_id).unlink(missing_ok=True)

    def sweep(self, older_than_seconds: float, keep: Container[str] = frozenset()) -> int:
        """Delete what a crash left behind, and say how many files that was.

        Stale temporary files go, and sidecars and clean files whose original is not here, except of the entries to
        ``keep``. Only what was last written ``older_than_seconds`` ago is touched: younger files may be work in hand.
        """
        swept = 0
        for directory in (self.incoming, self._received, self._redacted):
            for path in directory.iterdir():
                if self._is_waste(path, keep) and _age(path) >= older_than_seconds:
                    path.unlink(missing_ok=True)
                    swept += 1
        return swept

    def _is_waste(self, path: Path, keep: Container[str]) -> bool:
        if path.parent == self.incoming or path.suffix == ".tmp":
            return True
        entry_id = path.name.partition(".")[0]
        if not _ENTRY_ID.fullmatch(entry_id) or path == self.original(entry_id):
            return False
        return entry_id not in keep and not self.original(entry_id).exists()

    def _sidecar(self, entry_id: str) -> Path:
        return self._received / f"{_checked(_ENTRY_ID, entry_id)}.json"


def _checked(pattern: re.Pattern[str], name: str) -> str:
    """Let only the node's own names become part of a path."""
    if not pattern.fullmatch(name):
        msg = "not a name of this node's making"
        raise ValueError(msg)
    return name


def _refuse_if_shared(directory: Path) -> None:
    status = directory.stat()
    if status.st_uid != os.geteuid():
        msg = f"spool {directory}: has to belong to the user that runs the node"
        raise ConfigurationError(msg)
    if status.st_mode & 0o077:
        msg = f"spool {directory}: others may read or write there; allowed is mode 0700 (chmod 700)"
        raise ConfigurationError(msg)


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``path`` appear with all of its bytes on the disk, or not at all; its directory is the caller's to sync."""
    # A name of its own: after a lost ledger two workers may carry the same attempt number.
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _full(error: OSError) -> SpoolFull:
    return SpoolFull(f"the spool cannot be written: {error.strerror}")
