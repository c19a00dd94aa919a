"""The bytes and the truth: files written once, durable before anybody is told so.

::

    incoming/                     being written by a receiver
    received/<id>.dcm             as it arrived, never altered; the sidecar (what arrived and where it came from, so
                                  that the ledger can be rebuilt) is in it, where the file has room for that
    received/<id>.json            the sidecar where it has none, as in older releases
    redacted/<id>.<attempts>.dcm  clean; a new file per attempt, so that a late worker cannot overwrite another's

A file appears under its name only when it is whole: temporary file, fsync, rename, fsync of the directory. Names are
made of the node's own ids, never of anything off the wire. Files have mode 0600, directories 0700.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, Self

from dicom_node.errors import ConfigurationError, SpoolFull
from dicom_node.queue.files import (
    age_of,
    overwrite,
    refusals,
    remove,
    rename,
    size_of,
    sync_directory,
    write_whole,
)
from dicom_node.queue.sidecar import Sidecar, read_from

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

_ENTRY_ID = re.compile(r"[0-9a-f]{32}")
_REDACTED_NAME = re.compile(r"([0-9a-f]{32})\.([0-9]+)\.dcm")
_FREE_INODES = 32
"""With fewer, nothing new is taken in: each association writes a file, and whatever is in hand another."""

_LEDGER_SHARE = 4
"""The last part of ``minimum_free_bytes`` is not for clean files: without it the ledger could not be written, nothing
would be sent, and so nothing be deleted."""


class Incoming(Protocol):
    """A whole file on its way into the spool."""

    @property
    def path(self) -> str:
        """Where it stands once it is sealed: in the spool's ``incoming``."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def digest(self) -> str:
        """Text of a :class:`~dicom_node.queue.digest.Digest` of the bytes, as they are without a sidecar."""

    def open(self) -> BinaryIO:
        """Open the bytes for reading."""

    def seal(self, sidecar: Sidecar) -> bool:
        """Make the file durable, with the sidecar in it; False where that has no room. Or raise SpoolFull.

        From here on it is the spool's, to keep or to delete.
        """


class CleanFile(NamedTuple):
    """A clean file in the spool: its name, whose it is, and which attempt has written it."""

    name: str
    entry_id: str
    attempt: int


class Spool:
    """Where instances stand while they are the node's.

    Parameters
    ----------
    root : Path
        Its directory, on one file system.
    minimum_free_bytes : int
        With less room than this, nothing new is taken in: redaction and the ledger go on in it.
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
            sync_directory(self.root)
            sync_directory(self.root.parent)
        except OSError as error:
            msg = f"spool {self.root}: cannot be prepared: {error.strerror}"
            raise ConfigurationError(msg) from None

    def check_room(self, more_bytes: int = 0, more_files: int = 0) -> None:
        """See whether an instance may come in.

        Parameters
        ----------
        more_bytes, more_files : int
            What has to be free beside the minimum.

        Raises
        ------
        SpoolFull
            When less is free, or the file system cannot be written.
        """
        free_bytes, free_files = self._free()
        if free_bytes < self.minimum_free_bytes + more_bytes:
            msg = "less free space than the configured minimum"
            raise SpoolFull(msg)
        if free_files < _FREE_INODES + more_files:
            msg = "no inodes left"
            raise SpoolFull(msg)

    def check_room_to_redact(self, size: int) -> None:
        """See whether a clean file may be written; a part of the minimum is for it, another is left to the ledger.

        Parameters
        ----------
        size : int
            Bytes of the original: a clean file has about as many.

        Raises
        ------
        SpoolFull
            When there is no room for it now, or the spool is not there.
        """
        free_bytes, free_files = self._free()
        if free_bytes < size + self.minimum_free_bytes // _LEDGER_SHARE or free_files < 1:
            msg = "no room for the clean file"
            raise SpoolFull(msg)

    def _free(self) -> tuple[int, float]:
        """Tell how many bytes and files may still be written."""
        with refusals():
            room = os.statvfs(self._received)
        if room.f_flag & os.ST_RDONLY:
            msg = "the spool is read-only"
            raise SpoolFull(msg)
        # A file system without a fixed number of inodes says that it has 0 of them.
        return room.f_bavail * room.f_frsize, room.f_favail if room.f_files else float("inf")

    def put(self, incoming: Incoming, entry_id: str, sidecar: Sidecar) -> None:
        """Take a received file in; it is durable, with its sidecar, when this returns.

        The sidecar comes first, so that bytes that stand here can always be told apart: into the file, where it is
        durable with it by one sync. ``entry_id`` has to be new.

        Raises
        ------
        SpoolFull
            On any error of the file system: nothing was taken in, and what was begun is gone, ``incoming`` as well.
        """
        name = f"{self._received}/{checked_entry_id(entry_id)}.dcm"
        try:
            if not incoming.seal(sidecar):
                write_whole(self._sidecar(entry_id), lambda beside: beside.write(sidecar.to_json()))
            with refusals():
                rename(incoming.path, name)
                sync_directory(self._received)
        except BaseException:
            # None of it may be synced again: the kernel can have dropped what it did not write, and says so only once.
            remove(self.original(entry_id), self._sidecar(entry_id), Path(incoming.path))
            raise

    def original(self, entry_id: str) -> Path:
        """Path of the bytes as they arrived."""
        return self._received / f"{checked_entry_id(entry_id)}.dcm"

    def redacted(self, name: str) -> Path:
        """Path of a clean file, by the name the ledger has for it."""
        return self._redacted / checked_clean_name(name)

    @contextmanager
    def original_file(self, entry_id: str) -> Iterator[Path]:
        """Lend the bytes as they arrived; the file may be no more than that of whoever asks, and gone afterwards."""
        yield self.original(entry_id)

    @contextmanager
    def redacted_file(self, name: str) -> Iterator[Path]:
        """Lend a clean file, as :meth:`original_file` does."""
        yield self.redacted(name)

    def has_original(self, entry_id: str) -> bool:
        """Whether the bytes of an entry are here."""
        return self.original(entry_id).exists()

    def has_redacted(self, name: str) -> bool:
        """Whether a clean file is here."""
        return self.redacted(name).exists()

    def look(self) -> Self:
        """Return what answers :meth:`has_original` and :meth:`has_redacted` for very many."""
        return self

    def sidecar(self, entry_id: str) -> Sidecar:
        """Read the sidecar of an entry.

        Raises
        ------
        OSError, ValueError
            When it is missing or cannot be read, or is not a sidecar.
        """
        inside = read_from(self.original(entry_id))
        return Sidecar.from_json(self._sidecar(entry_id).read_bytes() if inside is None else inside)

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
            When it could not be written: the file system is full, read-only or broken. Whatever else ``write`` raises
            comes through as it is.
        """
        path = self.redacted(f"{entry_id}.{attempts}.dcm")
        write_whole(path, write)
        try:
            with refusals():
                sync_directory(self._redacted)
        except SpoolFull:
            remove(path)
            raise
        return path

    def clean_files(self, older_than_seconds: float) -> Iterator[CleanFile]:
        """Every clean file that was written so long ago."""
        for path in self._redacted.iterdir():
            file = clean_file(path.name)
            if file and age_of(path) >= older_than_seconds:
                yield file

    def remove_redacted(self, name: str) -> None:
        """Delete one clean file."""
        self.redacted(name).unlink(missing_ok=True)

    def used_bytes(self) -> int:
        """Count what is on the disk, whatever the ledger says."""
        paths = (path for directory in (self.incoming, self._received, self._redacted) for path in directory.iterdir())
        return sum(size_of(path) for path in paths)

    def check_there(self) -> None:
        """See that the spool is there: where a disk is not mounted, a missing file says nothing.

        Raises
        ------
        SpoolFull
            When it is not.
        """
        with refusals():
            self._received.stat()

    def age(self, entry_id: str) -> float:
        """Seconds since the bytes of an entry were written; 0 when they are gone."""
        return age_of(self.original(entry_id))

    def remove(self, entry_id: str, attempts: int) -> None:
        """Delete the bytes of an entry, its clean files of up to ``attempts`` attempts, and at last its sidecar.

        The number spares a walk through a directory of thousands for every instance that was sent. What it misses (a
        late worker's file) has no original any more, and goes at the next :meth:`sweep`.
        """
        self.original(entry_id).unlink(missing_ok=True)
        self.remove_attempts(entry_id, attempts)
        self._sidecar(entry_id).unlink(missing_ok=True)

    def remove_attempts(self, entry_id: str, attempts: int) -> None:
        """Delete the clean files of an entry of up to ``attempts`` attempts."""
        for attempt in range(attempts + 1):
            self.redacted(f"{entry_id}.{attempt}.dcm").unlink(missing_ok=True)

    def overwrite(self, entry_id: str, attempts: int) -> None:
        """Write zeros over everything of an entry, durably, before :meth:`remove` deletes it.

        That is the file's content as the file system has it. Where a file system or a disk keeps older content beside
        (copy on write, snapshots, a journal of data, flash), it stays there: against that only encryption helps.
        """
        clean = [self.redacted(f"{entry_id}.{attempt}.dcm") for attempt in range(attempts + 1)]
        for path in (self.original(entry_id), *clean, self._sidecar(entry_id)):
            with suppress(FileNotFoundError):
                overwrite(path)

    def sweep(self, older_than_seconds: float, keep: Container[str] = frozenset()) -> int:
        """Delete what a crash left behind, and say how many files that was.

        Stale temporary files go, and sidecars and clean files whose original is not here, except of the entries to
        ``keep``. Only what was last written ``older_than_seconds`` ago is touched: younger files may be work in hand.
        """
        swept = 0
        for directory in (self.incoming, self._received, self._redacted):
            for path in directory.iterdir():
                with suppress(OSError):  # it is tried again at the next look
                    if self._is_waste(path, keep) and age_of(path) >= older_than_seconds:
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
        return self._received / f"{checked_entry_id(entry_id)}.json"


def clean_file(name: str) -> CleanFile | None:
    """Read the name of a clean file; None when it is another's."""
    found = _REDACTED_NAME.fullmatch(name)
    return CleanFile(found[0], found[1], int(found[2])) if found else None


def is_entry_id(name: str) -> bool:
    """Whether this is an id of this node's making."""
    return _ENTRY_ID.fullmatch(name) is not None


def checked_entry_id(entry_id: str) -> str:
    """Let only the node's own ids become part of a path."""
    return _checked(_ENTRY_ID, entry_id)


def checked_clean_name(name: str) -> str:
    """Let only the node's own names of clean files become part of a path."""
    return _checked(_REDACTED_NAME, name)


def _checked(pattern: re.Pattern[str], name: str) -> str:
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
