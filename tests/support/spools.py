"""Either spool, from outside: what is in it, by the names of its files or objects."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dicom_node.config import Configuration
from dicom_node.queue import Sidecar, Spool
from dicom_node.queue.digest import Digest
from dicom_node.queue.files import refusals, sync_file
from dicom_node.queue.object_spool import ObjectSpool
from dicom_node.queue.object_store import open_store

if TYPE_CHECKING:
    from dicom_node.model import Store
    from dicom_node.queue import AnySpool


def text_of(content: bytes) -> str:
    """Return the digest of some bytes, as the spool has it."""
    return Digest(content).text


class WholeFile:
    """A file on its way into a spool, without room for a sidecar: an older release's, or what is no DICOM file."""

    def __init__(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self.path = str(path)
        self.size = len(content)
        self.digest = text_of(content)

    def open(self) -> BinaryIO:
        """Open it for reading."""
        return Path(self.path).open("rb")

    def seal(self, sidecar: Sidecar) -> bool:
        """Make it durable; it has no room."""
        del sidecar
        with refusals(), Path(self.path).open("r+b") as file:
            os.fchmod(file.fileno(), 0o600)
            sync_file(file.fileno())
        return False


def store_of(url: str) -> Store:
    """Return a store as a node's configuration has it, by the environment there is."""
    destinations, routes = {"here": {"folder": "here"}}, [{"name": "all", "destinations": ["here"]}]
    store = Configuration.model_validate({"spool": url, "destinations": destinations, "routes": routes}).store
    assert store is not None
    return store


def make_spool(where: str, folder: Path, minimum_free_bytes: int = 0) -> AnySpool:
    """Make a spool ready: in ``folder``, or in a store where its URL is given."""
    local = Spool(folder / "spool", minimum_free_bytes)
    spool = ObjectSpool(open_store(store_of(where)), local) if where else local
    spool.prepare()
    return spool


def names(spool: AnySpool) -> set[str]:
    """Name everything that is in it, what is being received as well."""
    kept = {key.rpartition("/")[2] for key in _keys(spool)} if isinstance(spool, ObjectSpool) else set()
    local = spool.incoming.parent
    return kept | {path.name for path in local.rglob("*") if path.is_file()}


def content(spool: AnySpool, name: str) -> bytes:
    """Read one of its files."""
    if isinstance(spool, ObjectSpool):
        return bytes(spool.store.get(_key(name)).bytes())
    return _path(spool, name).read_bytes()


def lose(spool: AnySpool, name: str) -> None:
    """Delete one of its files, as no part of the node does it."""
    if isinstance(spool, ObjectSpool):
        spool.store.delete([_key(name)])
    else:
        _path(spool, name).unlink()


def damage(spool: AnySpool, name: str, other: bytes) -> None:
    """Put something else in the place of one of its files."""
    with suppress(FileNotFoundError):
        lose(spool, name)
    if isinstance(spool, ObjectSpool):
        spool.store.put(_key(name), other)
    else:
        _path(spool, name).write_bytes(other)


def _key(name: str) -> str:
    is_clean = name.count(".") == len(("<id>", "<attempts>"))
    return f"redacted/{name}" if is_clean else f"received/{name}"


def _keys(spool: ObjectSpool) -> set[str]:
    return {each["path"] for some in spool.store.list() for each in some}


def _path(spool: Spool, name: str) -> Path:
    return spool.root / _key(name)
