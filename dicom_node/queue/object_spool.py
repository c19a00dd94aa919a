"""The spool in an S3-compatible store, for several machines: nouns and promise of :mod:`~dicom_node.queue.spool`.

::

    received/<id>.json            the sidecar
    received/<id>.dcm             as it arrived, never altered
    redacted/<id>.<attempts>.dcm  clean; a new object per attempt

An object appears whole or not at all, is durable when the store has answered, and is created under a name that nobody
else has: the store is told not to overwrite (``If-None-Match: *``). Bytes come in by the local disk and are worked on
there, in a copy that goes with the work; no copy is anything that has to last.

What the store refuses, or does not answer in time, is a SpoolFull: the sender keeps its copy, work waits.
"""

from __future__ import annotations

import io
import os
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from dicom_node.errors import ConfigurationError, SpoolFull
from dicom_node.queue.copies import Copies
from dicom_node.queue.files import refusals, spool_file
from dicom_node.queue.object_store import AT_ONCE, REFUSALS, answer, check
from dicom_node.queue.sidecar import Sidecar
from dicom_node.queue.spool import (
    checked_clean_name,
    checked_entry_id,
    clean_file,
    is_entry_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from obstore.store import S3Store

    from dicom_node.queue.spool import CleanFile, Incoming, Spool

_PARTS_AT_ONCE = 4
_NAMES_AT_ONCE = 1000


class _Object(NamedTuple):
    name: str
    age: float
    size: int

    @property
    def entry_id(self) -> str:
        return self.name.partition(".")[0]


class ObjectSpool:
    """Where instances stand while they are the node's, wherever its processes run.

    Parameters
    ----------
    store : S3Store
        One bucket and prefix, the same for all processes.
    local : Spool
        On a disk of this machine: what is being received, and copies of what is worked on.
    """

    def __init__(self, store: S3Store, local: Spool) -> None:
        self.store = store
        self.incoming = local.incoming
        self._local = local
        self._copies = Copies(local.root / "copies")

    def prepare(self) -> None:
        """Make the local directories, and try what the store can do.

        Raises
        ------
        ConfigurationError
            When either cannot be used, or instances of a spool without a store are still on the disk.
        """
        self._local.prepare()
        self._copies.prepare()
        if list(self._local.entry_ids()):
            msg = f"spool: there are still instances in {self._local.root}; they are sent by a node without this key"
            raise ConfigurationError(msg)
        check(self.store)

    def check_room(self, more_bytes: int = 0, more_files: int = 0) -> None:  # noqa: ARG002 - they will be in the store
        """See whether an instance may come in, as far as the local disk says it.

        Raises
        ------
        SpoolFull
            When it may not.
        """
        self._local.check_room()

    def check_room_to_redact(self, size: int) -> None:
        """See whether an original of ``size`` bytes and its clean file have room on the local disk.

        Raises
        ------
        SpoolFull
            When they have not.
        """
        self._local.check_room_to_redact(2 * size)

    def check_there(self) -> None:
        """See that the bucket is there.

        Raises
        ------
        SpoolFull
            When it is not.
        """
        next(self._objects("received"), None)

    def put(self, incoming: Incoming, entry_id: str, sidecar: Sidecar) -> None:
        """Take a received file in; it is durable, with its sidecar, when this returns.

        Raises
        ------
        SpoolFull
            When the store does not say so in time. Then nobody knows whether it has the bytes, and they are not
            touched: they get a row from reconcile, or turn out to be a duplicate of what the sender repeats.
        """
        with _refusals(), incoming.open() as file:
            self._create(_note(entry_id), io.BytesIO(sidecar.to_json()))
            self._create(_original(entry_id), file)
        with suppress(OSError):  # what stays is swept
            Path(incoming.path).unlink(missing_ok=True)

    @contextmanager
    def original_file(self, entry_id: str) -> Iterator[Path]:
        """Lend a copy of the bytes as they arrived.

        Raises
        ------
        FileNotFoundError
            When the store has none.
        SpoolFull
            When they cannot be had now.
        """
        key = _original(entry_id)
        with self._copies.lent(f"{entry_id}.dcm", lambda path: self._fetch(key, path)) as path:
            yield path

    @contextmanager
    def redacted_file(self, name: str) -> Iterator[Path]:
        """Lend a copy of a clean file, by the name the ledger has for it; raises as :meth:`original_file`."""
        key = _clean(name)
        with self._copies.lent(name, lambda path: self._fetch(key, path)) as path:
            yield path

    def has_original(self, entry_id: str) -> bool:
        """Whether the bytes of an entry are here."""
        return self._head(_original(entry_id)) is not None

    def has_redacted(self, name: str) -> bool:
        """Whether a clean file is here."""
        return self._head(_clean(name)) is not None

    def look(self) -> Look:
        """List what is here, so that many can be looked up without asking the store for each."""
        names = (frozenset(each.name for each in self._objects(folder)) for folder in ("received", "redacted"))
        return Look(self, *names)

    def sidecar(self, entry_id: str) -> Sidecar:
        """Read the sidecar of an entry.

        Raises
        ------
        OSError, ValueError
            When it is missing, or is not a sidecar.
        SpoolFull
            When it cannot be had now.
        """
        self._found(_note(entry_id))
        with _refusals():
            text = self.store.get(_note(entry_id)).bytes()
        return Sidecar.from_json(bytes(text))

    def entry_ids(self) -> Iterator[str]:
        """Every entry whose bytes are here."""
        for each in self._objects("received"):
            entry_id, _, suffix = each.name.partition(".")
            if suffix == "dcm" and is_entry_id(entry_id):
                yield entry_id

    def write_redacted(self, entry_id: str, attempts: int, write: Callable[[BinaryIO], object]) -> Path:
        """Write a clean file, and return its key; it is durable then, and on any failure nothing of it stays.

        Raises
        ------
        SpoolFull
            When it could not be written, or another worker has written this attempt (after a lost ledger two may carry
            the same number): the next attempt has a name of its own. Whatever else ``write`` raises comes through.
        """
        key = _clean(f"{entry_id}.{attempts}.dcm")
        with self._copies.unnamed() as local:
            with refusals():
                descriptor = os.dup(local.fileno())
            with spool_file(descriptor) as file:
                write(file)
            with _refusals():
                if _size(local) > AT_ONCE:
                    # Parts cannot be told not to overwrite: the name is taken first, by an empty object.
                    self.store.put(key, b"", mode="create")
                self._create(key, local)
        return Path(key)

    def clean_files(self, older_than_seconds: float) -> Iterator[CleanFile]:
        """Every clean file that was written so long ago."""
        for each in self._objects("redacted"):
            file = clean_file(each.name)
            if file and each.age >= older_than_seconds:
                yield file

    def remove_redacted(self, name: str) -> None:
        """Delete one clean file."""
        self._delete([_clean(name)])

    def used_bytes(self) -> int:
        """Count what is in the store, whatever the ledger says."""
        return sum(each.size for folder in ("received", "redacted") for each in self._objects(folder))

    def age(self, entry_id: str) -> float:
        """Seconds since the bytes of an entry were written; 0 when they are gone."""
        found = self._head(_original(entry_id))
        return found.age if found else 0.0

    def remove(self, entry_id: str, attempts: int) -> None:
        """Delete the bytes of an entry, its clean files of up to ``attempts`` attempts, and at last its sidecar.

        Raises
        ------
        OSError
            When the store does not: what stays is deleted by reconcile.
        """
        self._delete([_original(entry_id)])
        self.remove_attempts(entry_id, attempts)
        self._delete([_note(entry_id)])

    def remove_attempts(self, entry_id: str, attempts: int) -> None:
        """Delete the clean files of an entry of up to ``attempts`` attempts."""
        self._delete([_clean(f"{entry_id}.{each}.dcm") for each in range(attempts + 1)])

    def overwrite(self, entry_id: str, attempts: int) -> None:
        """Refuse: what is put in the place of an object is another object, and says nothing of the first one's bytes.

        Raises
        ------
        ConfigurationError
            Always.
        """
        del entry_id, attempts
        msg = "spool: what stands in a store cannot be overwritten; drop it without, and see to the store's versions"
        raise ConfigurationError(msg)

    def sweep(self, older_than_seconds: float, keep: Container[str] = frozenset()) -> int:
        """Delete what a crash left behind, and say how many files that was: here, and of this machine's own."""
        swept = self._local.sweep(older_than_seconds) + self._copies.sweep(older_than_seconds)
        received = list(self._objects("received"))
        with_bytes = {each.entry_id for each in received if each.name.endswith(".dcm")}
        for folder, objects in (("received", received), ("redacted", self._objects("redacted"))):
            for each in objects:
                is_left = is_entry_id(each.entry_id) and each.entry_id not in with_bytes and each.entry_id not in keep
                if is_left and each.age >= older_than_seconds and not self.has_original(each.entry_id):
                    self._delete([f"{folder}/{each.name}"])
                    swept += 1
        return swept

    def _create(self, key: str, file: BinaryIO) -> None:
        """Write an object that is not there yet; a long one in parts, which cannot be asked that."""
        size = _size(file)
        file.seek(0)
        if size <= AT_ONCE:
            self.store.put(key, file.read(), mode="create")
        else:
            self.store.put(key, file, use_multipart=True, chunk_size=AT_ONCE, max_concurrency=_PARTS_AT_ONCE)

    def _fetch(self, key: str, path: Path) -> None:
        """Copy an object to the local disk, by ranges: each has the time of one request, and is asked for again."""
        found = self._found(key)
        with _refusals(), path.open("xb") as file:
            for start in range(0, found.size, AT_ONCE):
                file.write(self.store.get_range(key, start=start, end=min(start + AT_ONCE, found.size)))

    def _found(self, key: str) -> _Object:
        found = self._head(key)
        if found is None:
            msg = "not in the spool"
            raise FileNotFoundError(msg)
        return found

    def _head(self, key: str) -> _Object | None:
        with _refusals():
            try:
                meta = self.store.head(key)
            except FileNotFoundError:
                return None
            return _Object(key, time.time() - meta["last_modified"].timestamp(), meta["size"])

    def _objects(self, folder: str) -> Iterator[_Object]:
        """List what is in a folder, a page at a time, in no order."""
        with _refusals():
            pages = iter(self.store.list(folder, chunk_size=_NAMES_AT_ONCE))
        while True:
            with _refusals():
                page = next(pages, None)
            if page is None:
                return
            for meta in page:
                age = time.time() - meta["last_modified"].timestamp()
                yield _Object(meta["path"].removeprefix(f"{folder}/"), age, meta["size"])

    def _delete(self, keys: Sequence[str]) -> None:
        try:
            self.store.delete(keys)
        except REFUSALS as error:
            raise OSError(answer(error)) from None


class Look(NamedTuple):
    """What was in the store at one moment; what is missing in it is asked for, as it can have come since."""

    spool: ObjectSpool
    received: frozenset[str]
    redacted: frozenset[str]

    def has_original(self, entry_id: str) -> bool:
        """Whether the bytes of an entry are here."""
        return f"{entry_id}.dcm" in self.received or self.spool.has_original(entry_id)

    def has_redacted(self, name: str) -> bool:
        """Whether a clean file is here."""
        return name in self.redacted or self.spool.has_redacted(name)


@contextmanager
def _refusals() -> Iterator[None]:
    """Let what the store refuses, or the local disk, become the spool's error."""
    try:
        yield
    except REFUSALS as error:
        msg = f"the spool cannot be used: {answer(error)}"
        raise SpoolFull(msg) from None


def _original(entry_id: str) -> str:
    return f"received/{checked_entry_id(entry_id)}.dcm"


def _note(entry_id: str) -> str:
    return f"received/{checked_entry_id(entry_id)}.json"


def _clean(name: str) -> str:
    return f"redacted/{checked_clean_name(name)}"


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
